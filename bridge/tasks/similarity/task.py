"""The declaration of task=similarity."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bridge.results.axes import Axis
from bridge.results.conditions import Condition, Conditions, Look
from bridge.results.metrics import Metric
from bridge.schema.similarity import SimilarityConfig
from bridge.similarity.measures import MEASURES
from bridge.tasks.base import Needs, Section, StatesNeed, Task

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.records.record import Record
    from bridge.results.comparison import Comparison
    from bridge.results.points import Result
    from bridge.schema import BridgeConfig
    from bridge.session import Session

OBSERVED, FREE, WITHIN = "observed", "shuffled", "shuffled_within"
ANGLE = Metric("procrustes_angle_rad", "angular shape distance (rad)", "angle", "rad", False, low=0.0, items=None)


class Similarity(Task):
    """Every layer of one model compared with every layer of another; one point for each pair, and no map."""

    name = "similarity"
    question = (
        "Are the states of two models alike, layer by layer, and by how much more than rows that were paired at random?"
    )
    config = SimilarityConfig
    uses = ("pair", "layer.position", "dataset")
    own_report = True
    metrics = (
        *(
            Metric(named.name, named.label, named.label, high=1.0, items=None, heads=i == 0)
            for i, named in enumerate(MEASURES.values())
        ),
        ANGLE,
    )
    conditions = Conditions(
        [
            Condition(OBSERVED, "estimate", "rows as they are paired", look=Look("#d55e00", "o", width=2.8)),
            Condition(
                FREE, "negative", "that any two sets of rows are alike: rows permuted freely", True,
                look=Look("#56b4e9", "s"), order=1,
            ),
            Condition(
                WITHIN, "negative", "that only the relation is shared: rows permuted inside their relation", True,
                look=Look("#0072b2", "D"), order=2,
            ),
        ]
    )  # fmt: skip
    axes = (
        Axis("source_layer", "layer of the source", "source layer", searched=True),
        Axis("target_layer", "layer of the target", "target layer"),
        Axis("n_rows", "rows", "rows", "number of rows", ("dataset.size",), log=True),
    )
    curves = False
    gates = {  # noqa: RUF012
        "planted": "the deepest layer of the target scores 1 beside itself, rotated and scaled (furthest of any "
        "measure)",
        "permuted": "the deepest layers score nothing once rows are permuted (largest calibrated score of any measure)",
    }

    def needs(self, config: "BridgeConfig") -> Needs:
        """Both models, the items, and every layer at one position."""
        states = [StatesNeed(side, config.layer.position) for side in ("source", "target")]
        return Needs(("source", "target"), True, tuple(states))

    def compute(self, config: "BridgeConfig", session: "Session", inputs: dict[str, str]) -> "Result":
        """See `bridge.tasks.similarity.cell`."""
        from bridge.tasks.similarity.cell import compute

        return compute(config, session, inputs)

    def sections(self, comparisons: "Sequence[Comparison]") -> list[Section]:
        """A heat map for every measure, and all numbers beside both nulls."""
        from bridge.tasks.similarity.page import sections

        return sections(comparisons)

    def line(self, record: "Record") -> str:
        """Layers and rows, and how many measures are above what."""
        from bridge.tasks.similarity.matrices import label, short

        return f"{label(record.data)}: {short(record.data)}"

    def flat(self, data: Mapping[str, Any]) -> dict[str, float]:
        """The deepest and the best layers of every measure."""
        from bridge.tasks.similarity.matrices import flat_scores

        return flat_scores(dict(data))

    def print_cell(self, record: "Record", console: "Console") -> bool:
        """Every measure at the deepest and at the best layers; see `bridge.tasks.similarity.tables`."""
        from bridge.tasks.similarity.tables import print_matrices

        print_matrices(record, console)
        return True

    def print_grid(self, records: Sequence["Record"], console: "Console") -> bool:
        """Every measure at its best layers, a row for each cell."""
        from bridge.tasks.similarity.tables import print_many

        print_many(records, console)
        return True
