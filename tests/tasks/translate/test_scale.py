"""The known answer of scale: a model whose residual stream is c times as large says the same, and so does a cell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from declared import point
from transformers import AutoModelForCausalLM, AutoTokenizer
from untrained import SMALL

from bridge.config import compose_config
from bridge.records.record import Record
from bridge.run import run
from bridge.session import Session

# Of two settings the target's layer is not the source's.
INJECTIONS = {
    "lm_head": ["injection=lm_head", "layer=2"],
    "late_layer": ["injection=late_layer", "layer=3"],
    "soft_prefix": ["injection=soft_prefix", "layer=2"],
}
SIZES = (1 / 30, 30.0)
NATS = ("logprob_nats", "kl_nats")
# Of this share of items the rank may be another by one: two logits that are equal but for rounding.
MOST_TIES = 0.01


def scaled(folder: Path, to: Path, c: float) -> Path:
    """A copy of a model whose residual stream is c times as large and whose logits are the same.

    What is written into the stream is c times as large: the embeddings, and what attention and MLP add. A norm divides
    that out again where its eps is c squared times as large. The head must not share the embeddings' weights.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    head = model.lm_head.weight.detach().clone()
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(c)
        for block in model.model.layers:
            block.self_attn.o_proj.weight.mul_(c)
            block.mlp.down_proj.weight.mul_(c)
    model.config.rms_norm_eps *= c**2
    model.save_pretrained(to)
    AutoTokenizer.from_pretrained(folder).save_pretrained(to)
    return to


@pytest.fixture(scope="module")
def models(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float], Path]:
    """(side, c) -> the folder of a model."""
    outputs = tmp_path_factory.mktemp("scale")
    (outputs / "artefacts").symlink_to(untrained)
    session, pair = Session(outputs, "cpu", 64), compose_config(*SMALL).pair
    session.locate(pair)
    made = {}
    for side in ("source", "target"):
        folder = Path(session.path(getattr(pair, side)))
        made[side, 1.0] = folder
        made |= {(side, c): scaled(folder, outputs / f"{side}-{c:.3g}", c) for c in SIZES}
    return made


@pytest.fixture(scope="module")
def cell(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Record]:
    outputs = tmp_path_factory.mktemp("cells")
    plain = [word for word in SMALL if ".zoo." not in word]

    def compute(*overrides: str, source: float = 1.0, target: float = 1.0) -> Record:
        words = [f"pair.source.name={models['source', source]}", f"pair.target.name={models['target', target]}"]
        prompts = ["pair.neutral_prompt=Again", "pair.copy_prompt='Again {state} gives'"]
        config = ["pair=custom", *words, *prompts, f"paths.outputs={outputs}", *overrides]
        return run(compose_config(*plain, *config), Session(outputs, "cpu", 64))

    return compute


@pytest.mark.parametrize("c", SIZES)
def test_the_stream_is_c_times_as_large_and_the_logits_are_the_same(models: Any, c: float) -> None:
    for side in ("source", "target"):
        ids = torch.arange(5, 17)[None]
        with torch.inference_mode():
            own, other = (
                AutoModelForCausalLM.from_pretrained(models[side, of], dtype=torch.float32)(
                    ids, output_hidden_states=True
                )
                for of in (1.0, c)
            )
        torch.testing.assert_close(other.logits, own.logits, rtol=1e-4, atol=1e-4)
        for layer in range(4):
            torch.testing.assert_close(
                other.hidden_states[layer], c * own.hidden_states[layer], rtol=1e-4, atol=1e-5 * c
            )


def leaves(node: Any, at: str = "") -> dict[str, Any]:
    """Every number of nested dicts and lists, by its path."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        return {path: value for key, inner in node.items() for path, value in leaves(inner, f"{at}/{key}").items()}
    return {at: node}


def assert_same(one: Record, other: Record) -> None:
    """Every item's scores, and every score, contrast and gate of the record, but for rounding."""
    ours, theirs = one.items().to_pydict(), other.items().to_pydict()
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        if name in NATS:
            assert theirs[name] == pytest.approx(values, abs=1e-3), name
        elif name == "mrr":
            ranks = [(1 / a, 1 / b) for a, b in zip(values, theirs[name], strict=True) if a != b]
            assert len(ranks) <= MOST_TIES * len(values), name
            assert all(b == pytest.approx(a, abs=1.001) for a, b in ranks), name
        else:
            assert theirs[name] == values, name
    for part in ("scores", "contrasts", "parts", "fit", "gates", "chance", "absent"):
        ours, theirs = (leaves({**r.data, **point(r.data)}[part]) for r in (one, other))
        assert ours.keys() == theirs.keys()
        for path, value in ours.items():
            if path.startswith(("/states/value", "/drift/value", "/planted/value")):
                # how far rounding goes is itself no more than rounding
                assert theirs[path] < 1e-4
            elif isinstance(value, float):
                # The exact p rounds sums over units to a sixtieth of the largest.
                tolerance = 1e-2 if path.endswith("/p_exact") else 2e-3
                assert theirs[path] == pytest.approx(value, abs=tolerance), f"{part}{path}"
            else:
                assert theirs[path] == value, f"{part}{path}"


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("c", SIZES)
def test_the_scale_of_either_model_changes_no_score_no_control_and_no_gate(
    cell: Any, c: float, side: str, injection: str
) -> None:
    assert_same(cell(*INJECTIONS[injection]), cell(*INJECTIONS[injection], **{side: c}))


@pytest.mark.parametrize("c", SIZES)
def test_l2_matches_scale_too_and_centring_alone_does_not(cell: Any, c: float) -> None:
    words = INJECTIONS["late_layer"]
    for normalize, matches in (("l2", True), ("center", False)):
        plain, other = (cell(*words, f"normalize={normalize}", source=size) for size in (1.0, c))
        if matches:
            assert_same(plain, other)
        else:
            with pytest.raises(AssertionError):
                assert_same(plain, other)
