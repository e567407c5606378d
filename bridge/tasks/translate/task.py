"""The declaration of task=translate."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bridge.results.axes import Axis, PartOfItems
from bridge.schema.translate import TranslateConfig
from bridge.tasks.base import Needs, Section, StatesNeed, Task
from bridge.tasks.translate.conditions import CONDITIONS
from bridge.tasks.translate.metrics import METRICS

if TYPE_CHECKING:
    from bridge.records.record import Record
    from bridge.results.comparison import Comparison
    from bridge.results.points import Result
    from bridge.schema import BridgeConfig
    from bridge.session import Session


class Translate(Task):
    """A hidden state is carried over, and scored by the token that the target decodes from it. One point a cell."""

    name = "translate"
    question = (
        "Does a map fitted between two models' hidden states carry anything that works inside the other model, and by "
        "how much does it beat its controls?"
    )
    config = TranslateConfig
    uses = ("pair", "layer", "injection", "control", "dataset", "map", "normalize")
    metrics = METRICS
    conditions = CONDITIONS
    axes = (
        Axis("layer", "layer, source → target", "layer", keys=("layer.source", "layer.target"), searched=True),
        Axis("n_fit", "items to fit on, n", "n", "data set size", ("dataset.size",), log=True),
    )
    parts = (
        PartOfItems("new", "which no fit row has", tested=True),
        PartOfItems("known", "which a fit row has"),
    )
    gates = {  # noqa: RUF012
        "states": "stored states, put into the stream of their own texts, give both models' own logits (largest "
        "difference, relative)",
        "drift": "texts read alone, and behind padding, have the stored states (largest difference, relative)",
        "pairing": "permuting rows worsens a probe fitted from source to target, a ridge regression whatever the "
        "cell's map (rank p; of rows permuted freely and inside their relation the larger)",
        "known": "the target's own top-1 is above that of always saying the commonest answer",
        "alive": "the target's own states, put in without a map, reach about its native top-1 (the limits are "
        "task.gates.alive and its inverse)",
        "planted": "a known rotation is found again (relative error on the span of the fit rows)",
    }
    reference = "native_target"
    noun = "answers"
    heading = "injection"
    # The maps of the October 2025 plan in its order; docs/interlingua.md has it.
    rungs = (
        "orthogonal",
        "linear",
        "affine",
        "lora",
        "linear_target",
        "affine_target",
        "lora_target",
        "mlp",
        "mlp_target",
    )

    def needs(self, config: "BridgeConfig") -> Needs:
        """Both models, the items, and states of as many positions as the injection asks for."""
        k, at = config.injection.n_states, config.layer.position
        own = "mean" if k == 1 and at == "mean" else "last" if k == 1 else f"last:{k}"
        # The models' own answers are decoded from the last position of the final layer, whichever layer is carried.
        positions = dict.fromkeys(["last", own])
        states = [StatesNeed(side, position) for position in positions for side in ("source", "target")]
        if at == "aligned":
            states += [StatesNeed(side, at, getattr(config.layer, side)) for side in ("source", "target")]
        return Needs(("source", "target"), True, tuple(states))

    def compute(self, config: "BridgeConfig", session: "Session", inputs: dict[str, str]) -> "Result":
        """See `bridge.tasks.translate.cell`."""
        from bridge.tasks.translate.cell import compute

        return compute(config, session, inputs)

    def setting(self, config: Mapping[str, Any]) -> str:
        """The injection's name, with its context if that is the item's own prompt."""
        injection = config["injection"]
        same = injection.get("context") == "same"
        return str(injection["name"]) + (" (same prompt)" if same else "")

    def lines(self, comparison: "Comparison") -> list[str]:
        """See `bridge.tasks.translate.lines`."""
        from bridge.tasks.translate.lines import lines

        return lines(comparison)

    def gate_verdict(self, comparison: "Comparison") -> str | None:
        """The reason why a cell is dead or invalid; see `bridge.tasks.translate.verdicts`."""
        from bridge.tasks.translate.verdicts import gate_verdict

        return gate_verdict(comparison.gates, comparison.mean("native_target"))

    def sections(self, comparisons: "Sequence[Comparison]") -> list[Section]:
        """The ladder of maps, and the number of items kept."""
        from bridge.tasks.translate.page import sections

        return sections(comparisons)

    def run_facts(self, records: "Sequence[Record]") -> dict[str, str]:
        """Map and normalisation, and what the fit had to go on."""
        from bridge.tasks.translate.page import run_facts

        return run_facts(records)

    def definitions(self, comparisons: "Sequence[Comparison]") -> list[str]:
        """What the scores, the parts and the conditions are."""
        from bridge.tasks.translate.page import DEFINITIONS

        return list(DEFINITIONS)
