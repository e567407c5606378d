"""The interface of tasks. Everything that shows results uses this interface, and names no task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bridge.results.axes import Axis, PartOfItems
from bridge.results.conditions import Condition, Conditions
from bridge.results.metrics import Metric

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.records.record import Record
    from bridge.results.comparison import Comparison
    from bridge.results.points import Result
    from bridge.schema import BridgeConfig
    from bridge.session import Session


# Config groups that a task need not use.
GROUPS = ("pair", "layer", "injection", "control", "dataset", "map", "normalize")


@dataclass(frozen=True)
class StatesNeed:
    """States that a cell reads.

    Attributes:
        side: "source" or "target".
        position: last, mean, last:K or aligned.
        layer: the one layer that is read; None if all layers are read in one pass.
    """

    side: str
    position: str
    layer: Any = None


@dataclass(frozen=True)
class Needs:
    """What a cell needs before anything is computed.

    Attributes:
        sides: the models that it loads, "source" and "target".
        items: whether it reads the data set.
        states: the states that it reads from the store.
    """

    sides: tuple[str, ...] = ()
    items: bool = False
    states: tuple[StatesNeed, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: its anchor.
        title: over it.
        body: HTML.
        lead: what it shows, in a sentence or two.
        link: its text in the table of contents; the title if empty.
        first: whether it comes before the cards of the settings.
        within: the common section that it is appended to, "gates" or "run"; empty for a separate section.
    """

    name: str
    title: str
    body: str
    lead: str = ""
    link: str = ""
    first: bool = False
    within: str = ""


class Task:
    """A task: one folder, one schema file, one conf file.

    Attributes:
        name: of its folder, its option and its records.
        question: what it asks, in one sentence.
        config: the dataclass of its config node.
        uses: config groups, or dotted keys, that enter its run id beside `task` and `seed`; the others have no effect.
        metrics: its scores; one of them heads tables, curves and verdicts.
        conditions: the estimate and the controls that are scored beside it.
        axes: the coordinates of its points.
        parts: of the items, the headline first; empty where all items are alike.
        gates: the meaning of each validity gate, by name.
        reference: the condition whose score is the denominator of shares; None if there is none.
        noun: the plural for its items, in the names of parts ("new answers").
        rungs: the maps of a ladder in their order; others follow by name.
        heading: of the column with the result of `setting`.
        curves: whether trackers join its points into curves by default; if not, they send one run for each cell.
        own_report: whether its own sections replace the common ones in a report.
    """

    name: str = ""
    question: str = ""
    config: type = object
    uses: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    conditions: Conditions[Any] = Conditions([Condition("estimate", "estimate")])
    axes: tuple[Axis, ...] = ()
    parts: tuple[PartOfItems, ...] = ()
    gates: Mapping[str, str] = {}
    reference: str | None = None
    noun: str = "items"
    rungs: tuple[str, ...] = ()
    heading: str = "setting"
    curves: bool = True
    own_report: bool = False

    def needs(self, config: "BridgeConfig") -> Needs:
        """The models, items and states that a cell reads; used by the dry run and for the order of cells."""
        return Needs()

    def check(self, config: "BridgeConfig") -> None:
        """Check, before anything is loaded, that a cell can be computed.

        Raises:
            ConfigError: it cannot be computed.
        """

    def compute(self, config: "BridgeConfig", session: "Session", inputs: dict[str, str]) -> "Result":
        """Compute one cell.

        Args:
            config: of the cell.
            session: the caches that cells share: models, items, states.
            inputs: fingerprints of the weights and items that the cell reads.

        Raises:
            BridgeError: something that a user can put right.
        """
        raise NotImplementedError

    # Optional methods: how a task shows its results besides the common view.

    def setting(self, config: Mapping[str, Any]) -> str:
        """The first part of the title of a setting."""
        return self.name

    def gate_verdict(self, comparison: "Comparison") -> str | None:
        """The reason why a cell is invalid, in the task's own words; None for the common text."""
        return None

    def lines(self, comparison: "Comparison") -> list[str]:
        """Lines below the table of one cell."""
        return []

    def line(self, record: "Record") -> str | None:
        """The line of one of many cells while they run; None for the common line."""
        return None

    def print_grid(self, records: Sequence["Record"], console: "Console") -> bool:
        """Print many cells in place of the common tables; False for the common tables."""
        return False

    def print_cell(self, record: "Record", console: "Console") -> bool:
        """Print one cell in place of the common table; False for the common table."""
        return False

    def flat(self, data: Mapping[str, Any]) -> dict[str, float]:
        """The mean scores of one record as ``{"metric/condition": value}``, for a tracker of single cells.

        Names end in the part of the items, and in the place if a record has several points. The estimate is left out
        where it stands beside no negative control.

        Args:
            data: record.json.
        """
        points = data.get("points", [])
        several = [axis for axis in self.axes if len({axis.value(point["axes"]) for point in points}) > 1]
        flat = {"valid": float(data["valid"])}
        for point in points:
            place = "".join(f" {axis.name}={axis.label(point['axes'])}" for axis in several)
            for end, part in {"": point, **{f"_{name}": part for name, part in point["parts"].items()}}.items():
                for condition, scores in self.conditions.beside_negatives(part.get("scores", {})).items():
                    for metric, score in scores.items():
                        if score["mean"] is not None:
                            flat[f"{metric}{end}/{condition}{place}"] = score["mean"]
        return flat

    def sections(self, comparisons: Sequence["Comparison"]) -> list[Section]:
        """Further sections of a report."""
        return []

    def run_facts(self, records: Sequence["Record"]) -> dict[str, str]:
        """Heading -> text, in a report's table of runs, for one record or for all records of one setting."""
        return {}

    def definitions(self, comparisons: Sequence["Comparison"]) -> list[str]:
        """Further definitions at the end of a report, as HTML."""
        return []

    # Derived.

    @cached_property
    def head(self) -> Metric:
        """The metric that heads tables, curves and verdicts."""
        (metric,) = (m for m in self.metrics if m.heads)
        return metric

    @cached_property
    def by_name(self) -> dict[str, Metric]:
        """The metrics by name."""
        return {m.name: m for m in self.metrics}

    @cached_property
    def searched(self) -> Axis | None:
        """The axis along which the best place is searched."""
        return next((axis for axis in self.axes if axis.searched), None)

    @cached_property
    def part_names(self) -> tuple[str, ...]:
        """The parts that have verdicts, the headline first, then "all"."""
        return (*(part.name for part in self.parts if part.tested), "all")

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Config keys that the points of one setting may differ in."""
        return (*(key for axis in self.axes for key in axis.keys), "control.names")

    def ignores(self, key: str) -> bool:
        """Whether a config key, such as ``map`` or ``layer.source``, belongs to a group that has no effect here."""
        return key.partition(".")[0] in GROUPS and not any(
            f"{used}.".startswith(f"{key}.") or f"{key}.".startswith(f"{used}.") for used in self.uses
        )

    def used(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a plain config that can change a result."""
        kept: dict[str, Any] = {}
        for key in (*self.uses, "task", "seed"):
            *path, last = key.split(".")
            node: Any = config
            home = kept
            for part in path:
                node, home = node[part], home.setdefault(part, {})
            if last in node:
                home[last] = node[last]
        return kept
