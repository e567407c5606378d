import pytest
import torch
from torch import Tensor

import bridge.metrics
from bridge.errors import FitError
from bridge.metrics import share_outside_span, state_scores, token_scores


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_token_scores(logits: Tensor, gold: Tensor, native: Tensor) -> dict[str, Tensor]:
    """One item after the other, by sorting, in float64."""
    rows = []
    for z, token, w in zip(logits.double(), gold.tolist(), native.double(), strict=True):
        better = sum(1 for other in range(len(z)) if other != token and z[other] >= z[token])
        p, q = w.softmax(0), z.softmax(0)
        row = {f"top{k}": float(better < k) for k in (1, 5, 10)}
        row |= {"rr": 1.0 / (1 + better), "logprob_nats": float(q[token].log())}
        row["kl_nats"] = float((p * (w.log_softmax(0) - z.log_softmax(0))).sum())
        rows.append(row)
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk", [1, 300, 10**9])
def test_token_scores_agree_with_a_naive_version_in_any_dtype_and_chunking(dtype, chunk, monkeypatch):
    monkeypatch.setattr(bridge.metrics, "CHUNK_LOGITS", chunk)
    native = (3 * gaussian(13, 101)).to(dtype)
    logits = (native + gaussian(13, 101, seed=1)).to(dtype)
    gold = torch.randint(101, (13,), generator=torch.Generator().manual_seed(2))
    gold[:4] = logits[:4].float().argmax(dim=1)
    scores = token_scores(logits, gold, native)
    expected = naive_token_scores(logits, gold, native)
    assert scores.keys() == expected.keys()
    for name, values in scores.items():
        assert values.dtype == torch.float64
        atol = 1e-12 if dtype == torch.float64 else 3e-6
        torch.testing.assert_close(values, expected[name], rtol=0.0, atol=atol, msg=name)


@pytest.mark.parametrize("chunk", [1, 300, 10**9])
def test_logits_of_draws_in_a_leading_dimension_are_scored_as_if_each_were_alone(chunk, monkeypatch):
    monkeypatch.setattr(bridge.metrics, "CHUNK_LOGITS", chunk)
    native, gold = gaussian(13, 101).float(), torch.randint(101, (13,), generator=torch.Generator().manual_seed(2))
    draws = native + gaussian(3, 13, 101, seed=1).float()
    draws[2, 4, 7] = 3000.0
    together = token_scores(draws, gold, native)
    for i, draw in enumerate(draws):
        for name, values in token_scores(draw, gold, native).items():
            assert together[name].shape == (3, 13)
            torch.testing.assert_close(together[name][i], values, rtol=0.0, atol=0.0, msg=name)


def test_a_tie_counts_against_the_gold_token_and_constant_logits_are_the_worst_guess():
    tied = torch.tensor([[1.0, 1.0, 0.0]])
    assert token_scores(tied, torch.tensor([0]))["rr"].item() == 0.5
    constant = token_scores(torch.zeros(2, 20), torch.tensor([0, 19]))
    assert constant["rr"].tolist() == [1 / 20, 1 / 20]
    assert constant["top10"].tolist() == [0.0, 0.0]


def test_top_k_works_on_a_vocabulary_smaller_than_k():
    scores = token_scores(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]))
    assert (scores["top1"].item(), scores["top5"].item(), scores["top10"].item()) == (0.0, 1.0, 1.0)
    assert "kl_nats" not in scores


@pytest.mark.parametrize("size", [0.0, 1e-4, 1e-2, 1.0, 10.0])
def test_kl_is_accurate_in_float32_from_nothing_to_far_apart(size):
    native = (4 * gaussian(6, 5000)).float()
    logits = native + (size * gaussian(6, 5000, seed=1)).float()
    expected = naive_token_scores(logits, torch.zeros(6, dtype=torch.long), native)["kl_nats"]
    kl = token_scores(logits, torch.zeros(6, dtype=torch.long), native)["kl_nats"]
    torch.testing.assert_close(kl, expected, rtol=1e-5 if size >= 1e-2 else 1e-3, atol=0.0)
    assert (kl >= 0.0).all()
    if size == 0.0:
        assert kl.tolist() == [0.0] * 6


def test_kl_does_not_overflow_where_a_logit_rose_by_thousands():
    native, logits = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[3000.0, 1.0, 2.0]])
    expected = naive_token_scores(logits, torch.tensor([0]), native)["kl_nats"]
    torch.testing.assert_close(token_scores(logits, torch.tensor([0]), native)["kl_nats"], expected, rtol=1e-6, atol=0)
    # A token of no weight at all that rose to almost none.
    native, logits = torch.tensor([[0.0, -300.0, 2.0]]), torch.tensor([[0.0, -20.0, 2.0]])
    expected = naive_token_scores(logits, torch.tensor([0]), native)["kl_nats"]
    assert 0.0 < expected.item() < 1e-9
    torch.testing.assert_close(token_scores(logits, torch.tensor([0]), native)["kl_nats"], expected, rtol=0, atol=1e-6)


def test_an_offset_common_to_all_logits_changes_no_score():
    logits, native, gold = gaussian(5, 40), gaussian(5, 40, seed=1), torch.arange(5)
    shifted = token_scores(logits + 100.0, gold, native - 50.0)
    for name, values in token_scores(logits, gold, native).items():
        torch.testing.assert_close(shifted[name], values, rtol=0.0, atol=1e-11)


def with_value(value: float) -> Tensor:
    logits = torch.zeros(4, 6)
    logits[1, 2] = value
    return logits


@pytest.mark.parametrize(
    ("call", "text"),
    [
        *(
            (
                lambda v=v: token_scores(with_value(v), torch.zeros(4).long()),
                "1 of 4 rows of logits holds NaN or inf",
            )
            for v in (float("nan"), float("inf"), -float("inf"))
        ),
        (
            lambda: token_scores(torch.zeros(4, 6), torch.zeros(4).long(), with_value(float("nan"))),
            "1 of 4 rows of native logits holds NaN or infinite values; wanted finite ones: look at the states",
        ),
        (
            lambda: token_scores(torch.zeros(4, 6), torch.zeros(3).long()),
            r"shape \(4, 6\) and gold \(3,\); wanted",
        ),
        (
            lambda: token_scores(torch.zeros(4, 6), torch.tensor([0, 6, 1, 1])),
            "gold tokens run from 0 to 6; wanted 0 to 5: encode the answers with the target's tokenizer",
        ),
        (
            lambda: token_scores(torch.zeros(4, 6), torch.zeros(4).long(), torch.zeros(4, 7)),
            r"native ones \(4, 7\); wanted the same items and tokens: both must come from the target",
        ),
        (
            lambda: state_scores(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(3)),
            "all 4 rows of Y equal the mean",
        ),
        (
            lambda: state_scores(torch.zeros(5, 3), torch.ones(4, 3), torch.zeros(3)),
            r"shape \(5, 3\), the target's \(4, 3\) and their mean \(3,\); wanted \(..., m, d\)",
        ),
        (
            lambda: state_scores(torch.full((4, 3), float("nan")), torch.ones(4, 3), torch.zeros(3)),
            "4 of 4 rows of the mapped states hold NaN",
        ),
        (
            lambda: share_outside_span(torch.ones(4, 3), torch.ones(4, 2)),
            "fit rows have width 3 and the new rows 2",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(call, text):
    with pytest.raises(FitError, match=text) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_perfect_states_score_one_and_the_mean_scores_zero():
    Y, mean = gaussian(9, 4), gaussian(4, seed=1)
    perfect = state_scores(Y, Y, mean)
    assert perfect["explained_variance"].item() == 1.0
    assert perfect["relative_error"].item() == 0.0
    assert perfect["cosine"].item() == pytest.approx(1.0)
    assert perfect["explained_variance_per_feature"].tolist() == [1.0] * 4
    constant = state_scores(mean.expand(9, 4), Y, mean)
    assert constant["explained_variance"].item() == pytest.approx(0.0, abs=1e-15)
    assert constant["relative_error"].item() == pytest.approx(1.0)
    assert constant["cosine"].item() == 0.0
    mirrored = state_scores(2 * mean - Y, Y, mean)
    assert mirrored["explained_variance"].item() == pytest.approx(-3.0)
    assert mirrored["cosine"].item() == pytest.approx(-1.0)


def test_explained_variance_is_about_the_given_mean_and_not_the_mean_of_the_scored_rows():
    Y, Y_hat = gaussian(9, 4) + 3.0, gaussian(9, 4, seed=1) + 3.0
    scores = state_scores(Y_hat, Y, torch.zeros(4))
    assert scores["explained_variance"].item() == pytest.approx(float(1 - (Y_hat - Y).norm() ** 2 / Y.norm() ** 2))
    assert scores["relative_error"].item() == pytest.approx(float((Y_hat - Y).norm() / Y.norm()))
    per_feature = 1 - (Y_hat - Y).square().sum(0) / Y.square().sum(0)
    torch.testing.assert_close(scores["explained_variance_per_feature"], per_feature)


def test_a_feature_that_never_leaves_its_mean_has_no_explained_variance_of_its_own():
    Y = torch.tensor([[1.0, 5.0], [2.0, 5.0]])
    scores = state_scores(Y + 0.5, Y, torch.tensor([0.0, 5.0]))
    assert torch.isnan(scores["explained_variance_per_feature"]).tolist() == [False, True]
    assert scores["explained_variance"].item() == pytest.approx(1 - 1.0 / 5.0)


def test_turning_both_states_changes_no_pooled_score():
    Y, Y_hat, mean = gaussian(9, 4), gaussian(9, 4, seed=1), gaussian(4, seed=2)
    Q = torch.linalg.qr(gaussian(4, 4, seed=3)).Q
    turned = state_scores(Y_hat @ Q, Y @ Q, mean @ Q)
    for name in ("explained_variance", "relative_error", "cosine"):
        torch.testing.assert_close(turned[name], state_scores(Y_hat, Y, mean)[name])


def test_draws_in_a_leading_dimension_are_scored_one_by_one():
    Y, draws, mean = gaussian(9, 4), gaussian(3, 9, 4, seed=1), gaussian(4, seed=2)
    together = state_scores(draws, Y, mean)
    for i, draw in enumerate(draws):
        for name, value in state_scores(draw, Y, mean).items():
            torch.testing.assert_close(together[name][i], value)


@pytest.mark.parametrize("n", [3, 7])
def test_share_outside_span_is_what_was_put_there(n):
    Q = torch.linalg.qr(gaussian(10, 10)).Q
    X_fit = gaussian(n, 3, seed=1) @ Q[:3]
    inside, outside = gaussian(5, 3, seed=2) @ Q[:3], gaussian(5, 7, seed=3) @ Q[3:]
    expected = float(outside.square().sum() / (inside.square().sum() + outside.square().sum()))
    assert share_outside_span(X_fit, inside + outside) == pytest.approx(expected, abs=1e-12)
    assert share_outside_span(X_fit, inside) == pytest.approx(0.0, abs=1e-12)
    assert share_outside_span(X_fit, outside) == pytest.approx(1.0)


def test_rows_that_span_everything_leave_nothing_outside_and_zero_rows_leave_everything():
    assert share_outside_span(gaussian(30, 6), gaussian(4, 6, seed=1)) == 0.0
    assert share_outside_span(torch.zeros(3, 6), gaussian(4, 6)) == 1.0
    assert share_outside_span(gaussian(3, 6), torch.zeros(4, 6)) == 0.0
