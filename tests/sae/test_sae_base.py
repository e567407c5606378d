from typing import Any

import pytest
import torch

from bridge.errors import DataError, FitError
from bridge.sae.base import SAE

D, M = 3, 4


def sae(kind: str = "relu_l1", **given: Any) -> SAE:
    g = torch.Generator().manual_seed(0)
    parts = [torch.randn(*shape, generator=g) for shape in ((D, M), (M,), (M, D), (D,))]
    return SAE(kind, *parts, **given)


@pytest.mark.parametrize("applied", [True, False])
def test_features_and_reconstruction_are_their_definition(applied: bool) -> None:
    one, X = sae(apply_b_dec_to_input=applied), torch.randn(5, D)
    features = ((X - applied * one.b_dec) @ one.W_enc + one.b_enc).clamp_min(0)
    torch.testing.assert_close(one.encode(X), features)
    torch.testing.assert_close(one(X), features @ one.W_dec + one.b_dec)
    assert (one.width, one.n_features) == (D, M)


def test_each_kind_keeps_its_own_features() -> None:
    pre = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-3.0, -1.0, 0.5, -2.0]])
    assert sae().activate(pre).tolist() == [[3, 0, 2, 1], [0, 0, 0.5, 0]]
    assert sae("topk", k=2).activate(pre).tolist() == [[3, 0, 2, 0], [0, 0, 0.5, 0]]
    assert sae("batch_topk", threshold=0.7).activate(pre).tolist() == [[3, 0, 2, 1], [0, 0, 0, 0]]
    thresholds = torch.tensor([5.0, -9.0, 0.0, 1.0])
    assert sae("jumprelu", thresholds=thresholds).activate(pre).tolist() == [[0, 0, 2, 0], [0, 0, 0.5, 0]]


def test_rows_of_any_shape_are_encoded_one_by_one() -> None:
    one, X = sae("topk", k=2), torch.randn(2, 5, D)
    torch.testing.assert_close(one.encode(X)[1, 3], one.encode(X[1, 3]))


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("gated", {}, "an SAE of the kind 'gated'; wanted one of topk, batch_topk, relu_l1, jumprelu: change it"),
        ("topk", {}, "an SAE of the kind topk without k; wanted it: give it"),
        ("topk", {"k": 5}, "an SAE of 4 features with k = 5; wanted 1..4: change k"),
        ("relu_l1", {"k": 2}, "an SAE of the kind relu_l1 with k; wanted topk or batch_topk with it: drop it"),
        ("jumprelu", {"thresholds": torch.ones(3)}, r"thresholds of \(3,\); wanted \(4,\): give one for each feature"),
    ],
)
def test_a_kind_has_what_it_needs_and_nothing_else(kind: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=f"^{said}$"):
        sae(kind, **given)


def test_tensors_that_do_not_fit_and_other_widths_are_refused() -> None:
    with pytest.raises(DataError, match=r"of \(4, 3\), \(4,\), \(4, 3\), \(3,\); wanted \(d, m\), \(m,\)"):
        SAE("relu_l1", torch.ones(M, D), torch.ones(M), torch.ones(M, D), torch.ones(D))
    with pytest.raises(FitError, match=r"^states of width 5; wanted 3 for this SAE: give those of its own model$"):
        sae().encode(torch.ones(2, 5))
