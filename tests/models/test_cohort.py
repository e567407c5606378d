"""Many seeds trained as one batched model: each is the model that it would be alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from bridge.activations.extract import extract
from bridge.data.dyck import NO_LABEL, generate, held_out, label
from bridge.errors import ConfigError, ModelError
from bridge.models import cohort
from bridge.models.cohort import SHARED, Batches, ensure_cohort, make_tokenizer, rate, tensors, train_cohort
from bridge.models.dyck import DyckConfig, DyckModel, accuracies, losses
from bridge.models.loading import load
from bridge.models.recipe import KIND, DyckSpec
from bridge.records.artefacts import Artefacts

SMALL = {"n_steps": 3, "batch_size": 4, "max_length": 12, "width": 16}
ONE, TWO = DyckSpec(seed=1, **SMALL), DyckSpec(seed=2, **SMALL)  # type: ignore[arg-type]


def test_the_shape_is_the_papers() -> None:
    assert sum(p.numel() for p in DyckModel(DyckConfig()).parameters()) == 104_448


def test_a_seed_trained_with_others_is_the_model_that_it_is_alone() -> None:
    together, alone = train_cohort([ONE, TWO]), [*train_cohort([ONE]), *train_cohort([TWO])]
    for a, b in zip(together, alone, strict=True):
        for name, parameter in a.state_dict().items():
            torch.testing.assert_close(parameter, b.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)
    first, second = (model.state_dict() for model in together)
    assert all((first[name] - second[name]).abs().max() > 1e-2 for name in first)


def test_every_seed_has_strings_of_its_own() -> None:
    one, again, two = (Batches(spec).next()[0] for spec in (ONE, ONE, TWO))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_training_is_the_one_that_torch_does_with_an_ordinary_loop() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(ONE.seed)
        model = DyckModel(DyckConfig(hidden_size=16, intermediate_size=64))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, betas=(0.9, 0.95))
    batches = Batches(ONE)
    for step in range(ONE.n_steps):
        ids, *labels = batches.next()
        for group in optimizer.param_groups:
            group["lr"] = rate(step, ONE.n_steps)
        optimizer.zero_grad()
        losses(model(ids), *labels).sum().backward()
        optimizer.step()
    (batched,) = train_cohort([ONE])
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(batched.state_dict()[name], parameter, rtol=1e-4, atol=1e-5, msg=name)


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


def test_padding_and_later_tokens_change_nothing_before_them() -> None:
    model = DyckModel(DyckConfig())
    ids = torch.tensor([[1, 3, 4, 7, 6, 2, 0, 0]])
    states = model(ids).last_hidden_state
    torch.testing.assert_close(model(ids[:, :4]).last_hidden_state, states[:, :4])


def test_the_rate_rises_then_falls_to_a_fiftieth() -> None:
    rates = [rate(step, 1000) for step in range(1000)]
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


def test_a_shared_cohort_has_the_embeddings_and_heads_of_seed_0(tmp_path: Path) -> None:
    store = Artefacts(tmp_path)
    one = DyckSpec(seed=1, cohort="shared", **SMALL)  # type: ignore[arg-type]
    ensure_cohort([one], store)
    zero = load(str(store.path(KIND, DyckSpec(seed=0, **SMALL).made_from())), kind="dyck").model.state_dict()  # type: ignore[arg-type]
    model = load(str(store.path(KIND, one.made_from())), kind="dyck").model.state_dict()
    for name, parameter in model.items():
        assert torch.equal(parameter, zero[name]) == (name in SHARED), name
    # And every head and every embedding is among them.
    assert {name for name in model if not name.startswith("layers")} == set(SHARED)


def test_weights_of_a_training_that_failed_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "LEARNING_RATE", float("nan"))
    with pytest.raises(ModelError, match=r"^training seeds \[1, 2\] came to a loss that is not finite; wanted"):
        ensure_cohort([ONE, TWO], Artefacts(tmp_path))
    for spec in (ONE, TWO):
        assert Artefacts(tmp_path).find(KIND, spec.made_from()) is None


def test_a_checkpoint_that_is_not_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoint=2 is not kept; wanted one of 0, 1, 3, or null"):
        ensure_cohort([DyckSpec(seed=1, checkpoint=2, **SMALL)], Artefacts(tmp_path))  # type: ignore[arg-type]


def test_tokens_are_those_that_strings_are_written_with() -> None:
    strings = generate(50, np.random.default_rng(0))
    tokenizer = make_tokenizer()
    assert [tokenizer(text)["input_ids"] for text in strings.texts()] == [
        row[:n].tolist() for row, n in zip(strings.ids, strings.lengths, strict=True)
    ]


def test_a_short_training_learns_to_read() -> None:
    torch.set_num_threads(1)
    (model,) = train_cohort([DyckSpec(seed=5, n_steps=200, max_length=16)])
    rng = np.random.default_rng(0)
    for strings in (generate(500, rng, (2, 16)), held_out(200, rng, (6, 16))):
        ids, *labels = tensors(strings, label(strings))
        with torch.inference_mode():
            right = accuracies(model(ids), *labels)
        # Validity is learnt last.
        assert right["bracket"] > 0.93, right
        assert right["depth"] > 0.93, right
        assert right["validity"] > 0.85, right
