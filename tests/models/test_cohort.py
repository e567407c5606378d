"""Many seeds trained as one batched model: each is the model that it would be alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from bridge.activations.extract import extract
from bridge.config import compose_config, to_plain
from bridge.data.dyck import CONTEXT, EOS, NO_LABEL, OPENING, PAD, generate, held_out, label
from bridge.errors import ConfigError, ModelError
from bridge.models.cohort import Batches, ensure_cohort, make_reader, make_tokenizer, schedule_of, tensors, train_cohort
from bridge.models.dyck import DyckConfig, DyckModel, accuracies, losses
from bridge.models.dyck_neox import DyckNeoXModel
from bridge.models.loading import load
from bridge.models.recipe import KIND, DyckSpec, spec_of
from bridge.records.artefacts import Artefacts
from bridge.session import Session

SMALL = {"n_steps": 3, "n_warmup": 2, "batch_size": 4, "max_length": 12, "width": 16}
ONE, TWO = DyckSpec(seed=1, **SMALL), DyckSpec(seed=2, **SMALL)  # type: ignore[arg-type]
BOTH = pytest.mark.parametrize("architecture", ["paper", "gpt_neox"])


def same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    """Whether two models have one training behind them.

    A bias of keys changes no attention but by its rotary part; its gradient is rounding, which Adam makes as large as
    any other.
    """
    expected = other.state_dict()
    for name, parameter in one.state_dict().items():
        if not name.endswith("query_key_value.bias"):
            torch.testing.assert_close(parameter, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_shape_is_the_papers() -> None:
    assert sum(p.numel() for p in DyckModel(DyckConfig()).parameters()) == 104_448


@BOTH
def test_a_seed_trained_with_others_is_the_model_that_it_is_alone(architecture: str) -> None:
    one, two = (replace(spec, architecture=architecture) for spec in (ONE, TWO))
    together, alone = train_cohort([one, two]), [*train_cohort([one]), *train_cohort([two])]
    for a, b in zip(together, alone, strict=True):
        same(a, b)
    first, second = (model.state_dict() for model in together)
    # Biases and gains of all seeds start alike.
    assert all((first[name] - second[name]).abs().max() > 1e-2 for name in first if first[name].ndim > 1)


def test_every_seed_has_strings_of_its_own_and_their_lengths_in_common() -> None:
    one, again, two = (Batches(spec) for spec in (ONE, ONE, TWO))
    seen = set()
    for _ in range(40):
        a, b, c = (next(batches)[0] for batches in (one, again, two))
        assert torch.equal(a, b)
        assert a.shape == c.shape
        assert len(a) < 4 or not torch.equal(a, c) or a.shape[1] == 4
        assert ((a == EOS).long().argmax(1) == a.shape[1] - 1).all()
        seen.add(a.shape[1] - 2)
    assert seen == {2, 4, 6, 8, 10, 12}


def test_the_strings_of_a_batch_may_have_any_lengths() -> None:
    batches = Batches(replace(ONE, one_length=False, batch_size=100))
    ids = next(batches)[0]
    assert ids.shape == (100, 14)
    assert set(((ids != PAD).sum(1) - 2).tolist()) == {2, 4, 6, 8, 10, 12}


def test_every_second_string_is_a_hard_one_where_the_recipe_says_so() -> None:
    spec = replace(ONE, batch_size=1000, max_length=24, one_length=False, p_valid=0.0)
    ids, _, depth, _ = next(Batches(spec))
    assert depth[1::2].amax(1).float().mean() > depth[::2].amax(1).float().mean() + 1
    n_open = ((ids >= OPENING[0]) & (ids <= OPENING[-1])).sum(1)
    balanced = n_open * 2 == (ids >= OPENING[0]).sum(1)
    assert balanced[1::2].all()
    assert balanced[::2].float().mean() < 0.6
    ids = next(Batches(replace(spec, hard_half=False)))[0]
    n_open = ((ids >= OPENING[0]) & (ids <= OPENING[-1])).sum(1)
    assert (n_open * 2 == (ids >= OPENING[0]).sum(1))[1::2].float().mean() < 0.6


def test_the_share_of_valid_strings_is_the_recipes() -> None:
    for p_valid in (0.0, 1.0):
        labels = next(Batches(replace(ONE, batch_size=50, p_valid=p_valid)))[3]
        assert ((labels == 0).any(1) == (p_valid == 0)).all()


@BOTH
def test_training_is_the_one_that_torch_does_with_an_ordinary_loop(architecture: str) -> None:
    spec = replace(ONE, architecture=architecture, validity_weight=3.0)
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model = make_reader(spec)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, betas=(0.9, 0.95))
    for step, (ids, *labels) in zip(range(spec.n_steps), Batches(spec), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = schedule_of(spec).rate(step)
        optimizer.zero_grad()
        (losses(model(ids), *labels) * torch.tensor([1.0, 1.0, 3.0])).sum().backward()
        optimizer.step()
    (batched,) = train_cohort([spec])
    same(batched, model)


def test_losses_are_mean_cross_entropies_over_labelled_tokens() -> None:
    strings = generate(20, np.random.default_rng(0), (2, 12))
    ids, bracket, depth, validity = tensors(strings, label(strings))
    output = DyckModel(DyckConfig())(ids)
    there = validity != NO_LABEL
    expected = [
        F.cross_entropy(output.bracket.flatten(0, 1), bracket.flatten(), ignore_index=NO_LABEL),
        F.cross_entropy(output.depth.flatten(0, 1), depth.flatten(), ignore_index=NO_LABEL),
        F.binary_cross_entropy_with_logits(output.validity[there], validity[there].float()),
    ]
    torch.testing.assert_close(losses(output, bracket, depth, validity), torch.stack(expected))
    said = (output.validity > 0).long()
    right = accuracies(output, bracket, depth, validity)
    assert right["validity"] == pytest.approx(float((said == validity)[there].float().mean()))


@BOTH
def test_padding_and_later_tokens_change_nothing_before_them(architecture: str) -> None:
    model = make_reader(DyckSpec(architecture=architecture))  # type: ignore[arg-type]
    ids = torch.tensor([[1, 3, 4, 7, 6, 2, 0, 0]])
    states = model(ids).last_hidden_state
    torch.testing.assert_close(model(ids[:, :4]).last_hidden_state, states[:, :4])


def test_the_rate_rises_then_falls_to_a_fiftieth() -> None:
    rates = [schedule_of(DyckSpec(n_steps=1000, n_warmup=100, learning_rate=3e-3)).rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(3e-5)
    assert max(rates) == pytest.approx(3e-3)
    assert np.argmax(rates) in (99, 100)
    assert rates[-1] == pytest.approx(6e-5, rel=0.01)


def test_every_kept_step_is_stored_and_loads_through_the_ordinary_loader(tmp_path: Path) -> None:
    store = Artefacts(tmp_path)
    ensure_cohort([ONE, TWO], store)
    assert ONE.kept == (0, 1, 3)
    paths = [store.path(KIND, DyckSpec(seed=1, checkpoint=step, **SMALL).made_from()) for step in (0, 1, 3, None)]  # type: ignore[arg-type]
    start, first, last, final = (load(str(path), kind="dyck") for path in paths)
    assert last.model.state_dict().keys() == final.model.state_dict().keys()
    for name, parameter in last.model.state_dict().items():
        torch.testing.assert_close(parameter, final.model.state_dict()[name], rtol=0, atol=0)
    (alone,) = train_cohort([ONE])
    torch.testing.assert_close(final.model.bracket.weight, alone.bracket.weight, rtol=1e-4, atol=1e-5)
    assert (start.model.bracket.weight - first.model.bracket.weight).abs().max() > 0
    assert (final.anatomy.n_blocks, final.anatomy.width, final.anatomy.head) == (2, 16, None)
    assert final.anatomy.final_norm is final.model.norm
    texts = ["( [ ] )", "{ }"]
    assert final.encode(texts) == [[1, 3, 4, 7, 6, 2], [1, 5, 8, 2]]
    states = extract(final, texts, [0, 1, 2], "all")
    assert states[2].shape == (10, 16)
    torch.testing.assert_close(
        final.model.norm(states[2][:6]), final.model(torch.tensor([[1, 3, 4, 7, 6, 2]])).last_hidden_state[0]
    )


@BOTH
def test_a_shared_cohort_has_the_embeddings_and_heads_of_seed_0(tmp_path: Path, architecture: str) -> None:
    store = Artefacts(tmp_path)
    one = replace(ONE, cohort="shared", architecture=architecture)
    ensure_cohort([one], store)
    made_from = replace(one, seed=0, cohort="independent").made_from()
    zero = load(str(store.path(KIND, made_from)), kind="dyck").model.state_dict()
    loaded = load(str(store.path(KIND, one.made_from())), kind="dyck").model
    model = loaded.state_dict()
    for name, parameter in model.items():
        assert torch.equal(parameter, zero[name]) == (name in loaded.shared), name
    # And every head and every embedding is among them.
    assert {name for name in model if "layers" not in name and "norm" not in name} == set(loaded.shared)


def test_weights_of_a_training_that_failed_are_not_kept(tmp_path: Path) -> None:
    failing = [replace(spec, learning_rate=float("nan")) for spec in (ONE, TWO)]
    with pytest.raises(ModelError, match=r"^training seeds \[1, 2\] came to a loss that is not finite; wanted"):
        ensure_cohort(failing, Artefacts(tmp_path))
    for spec in failing:
        assert Artefacts(tmp_path).find(KIND, spec.made_from()) is None


def test_a_gpt_neox_that_reads_brackets_is_stored_and_loads_as_it_was_trained(tmp_path: Path) -> None:
    store, spec = Artefacts(tmp_path), replace(ONE, architecture="gpt_neox")
    ensure_cohort([spec], store)
    lm = load(str(store.path(KIND, spec.made_from())), kind="dyck")
    (trained,) = train_cohort([spec])
    assert isinstance(lm.model, DyckNeoXModel)
    assert lm.model.config.use_parallel_residual
    ids = torch.tensor([[1, 3, 4, 7, 6, 2]])
    output, expected = lm.model(ids), trained.eval()(ids)
    for head in ("last_hidden_state", "bracket", "depth", "validity"):
        torch.testing.assert_close(getattr(output, head), getattr(expected, head), rtol=1e-3, atol=1e-4, msg=head)
    assert lm.anatomy.final_norm is lm.model.gpt_neox.final_layer_norm
    states = extract(lm, ["( [ ] )"], [2], "all")
    torch.testing.assert_close(lm.anatomy.final_norm(states[2]), output.last_hidden_state[0])


def test_a_checkpoint_that_is_not_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoint=2 is not kept; wanted one of 0, 1, 3, or null"):
        ensure_cohort([DyckSpec(seed=1, checkpoint=2, **SMALL)], Artefacts(tmp_path))  # type: ignore[arg-type]


def test_the_device_of_a_session_is_where_seeds_are_trained(tmp_path: Path) -> None:
    pair = compose_config("pair=dyck3_fast", "pair.source.zoo.n_steps=1").pair
    with pytest.raises(ConfigError, match=r"^device='tpu9' is unknown; wanted a device of torch: give auto, cpu, cuda"):
        Session(tmp_path, "tpu9", 4).locate(pair)


def test_the_papers_full_recipe_runs() -> None:
    plain = to_plain(compose_config("experiment=dyck_paper", "pair.source.zoo.n_steps=2"))
    spec = spec_of(plain["pair"]["source"]["zoo"])
    assert isinstance(spec, DyckSpec)
    shape = (spec.batch_size, spec.max_length, spec.n_warmup, spec.learning_rate, spec.validity_weight, spec.p_valid)
    assert shape == (512, 62, 500, 3e-3, 1.0, 0.5)
    assert next(Batches(spec))[0].shape == (512, CONTEXT)
    (model,) = train_cohort([spec])
    assert sum(p.numel() for p in model.parameters()) == 104_448


def test_tokens_are_those_that_strings_are_written_with() -> None:
    strings = generate(50, np.random.default_rng(0))
    tokenizer = make_tokenizer()
    assert [tokenizer(text)["input_ids"] for text in strings.texts()] == [
        row[:n].tolist() for row, n in zip(strings.ids, strings.lengths, strict=True)
    ]


def test_a_short_training_learns_to_read() -> None:
    torch.set_num_threads(1)
    (model,) = train_cohort([DyckSpec(seed=5, n_steps=250, n_warmup=50, batch_size=32, max_length=12)])
    rng = np.random.default_rng(0)
    for strings in (generate(500, rng, (2, 12)), held_out(200, rng, (6, 12))):
        ids, *labels = tensors(strings, label(strings))
        with torch.inference_mode():
            right = accuracies(model(ids), *labels)
        assert right["bracket"] > 0.88, right
        assert right["depth"] > 0.93, right
        assert right["validity"] > 0.9, right
