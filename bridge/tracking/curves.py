"""From records to curves: one W&B run for every control and all that is fixed but the axis x."""

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bridge.errors import ConfigError
from bridge.records.record import NOT_IN_RUN_ID
from bridge.tasks.similarity.matrices import is_similarity
from bridge.tracking.single import flat_scores

METRICS = ("top1", "top10", "mrr", "logprob_nats")
# Top-1 on items whose answer no fit row has.
NEW = "new/top1"
STATE_METRICS = ("explained_variance",)
TAG_LENGTH = 64


@dataclass(frozen=True)
class Curve:
    """What one W&B run shows.

    Attributes:
        id: of the W&B run.
        base: of all curves that differ in the control alone.
        control: the control, which is the W&B job type; "cell" where one run is one cell.
        name: of the W&B run.
        group: the W&B group.
        tags: what is fixed, in a few words.
        config: all that is fixed.
        x: the step metric; None where one run is one cell.
    """

    id: str
    base: str
    control: str
    name: str
    group: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    x: str | None


@dataclass(frozen=True)
class Row:
    """One row of a curve's history.

    Attributes:
        kind: "scores", or "lead" where the fitted map was scored in another cell than the control.
        x: where on the curve.
        source: run ids of the cells that it comes from.
        values: what W&B is sent, besides x.
    """

    kind: str
    x: float
    source: str
    values: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How the cells of one sweep become curves.

    Args:
        sweep: the sweep's name.
        tracker: the plain config node.
        axes: override keys that are swept.
    """

    sweep: str
    tracker: dict[str, Any]
    axes: Sequence[str]

    @property
    def fits_all(self) -> bool:
        """Whether every cell has a place on the axis, whatever its config."""
        return bool(self.tracker["x"] == "layer" or self.tracker["run_per"] == "cell")

    def check(self, config: dict[str, Any]) -> None:
        """See that a cell has a place on the axis.

        Raises:
            ConfigError: the value of `tracker.x` holds no number.
        """
        if self.fits_all:
            return
        key = self.tracker["x"]
        value = _get(config, key)
        if isinstance(value, dict) or _number(value) is None:
            held = "is not in the config" if value is None else f"is {_short(value)}, which holds no number"
            raise ConfigError(
                f"tracker.x={key} cannot be the axis of a curve: {key} {held}; give layer, dataset.size, seed, or "
                "another key whose value is or holds a number"
            )

    def rows(self, config: dict[str, Any], overrides: Sequence[str], data: dict[str, Any]) -> list[tuple[Curve, Row]]:
        """What one record gives: a row for the curve of each of its controls and references."""
        # Matrices of layers by layers lie on no axis.
        if self.tracker["run_per"] == "cell" or is_similarity(data):
            return [self._cell(config, overrides, data)]
        x = self._x(config, data)
        fixed = self._fixed(config)
        found = []
        for control, scores in data["scores"].items():
            values = {"valid": float(data["valid"])}
            for metric, score in _metrics(scores, data["state_scores"].get(control, {})):
                values |= {metric: score["mean"], f"{metric}_low": score["low"], f"{metric}_high": score["high"]}
            new = data["by_answer"]["new"].get("scores", {}).get(control, {}).get("top1")
            if new is not None:
                values |= {NEW: new["mean"], f"{NEW}_low": new["low"], f"{NEW}_high": new["high"]}
            leads = {m: lead for m, lead in data["contrasts"].get(control, {}).items() if m in METRICS}
            if "top1" in (of_new := data["by_answer"]["new"].get("contrasts", {}).get(control, {})):
                leads[NEW] = of_new["top1"]
            for metric, lead in leads.items():
                values |= {
                    f"lead/{metric}": lead["difference"],
                    f"lead/{metric}_low": lead["low"],
                    f"lead/{metric}_high": lead["high"],
                }
            found.append((self._curve(fixed, overrides, control), Row("scores", x, data["run_id"], values)))
        return found

    def _cell(self, config: dict[str, Any], overrides: Sequence[str], data: dict[str, Any]) -> tuple[Curve, Row]:
        kept = {k: v for k, v in config.items() if k not in NOT_IN_RUN_ID}
        identity = self._id(["cell", data["run_id"]])
        name = ", ".join(overrides) or data["run_id"]
        tags = tuple(tag(o) for o in overrides)
        config = {**kept, "sweep": self.sweep}
        curve = Curve(identity, identity, "cell", name, self.group, tags, config, None)
        return curve, Row("scores", 0.0, data["run_id"], flat_scores(data))

    def _curve(self, fixed: dict[str, Any], overrides: Sequence[str], control: str) -> Curve:
        base, x = self._id(fixed), self.tracker["x"]
        told = [o for o in overrides if o.partition("=")[0] not in ("control", "control.names", x, *_below(x))]
        config = copy.deepcopy(fixed)
        config["control"] = {**fixed["control"], "name": control}
        config |= {"sweep": self.sweep, "x": x}
        plain = (f"pair={fixed['pair']['name']}", f"injection={fixed['injection']['name']}")
        tags = tuple(dict.fromkeys(tag(t) for t in (*plain, *told)))
        name = ", ".join([control, *told])
        return Curve(self._id([base, control]), base, control, name, self.group, tags, config, axis_name(x))

    def _fixed(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config without settings, without which controls there are, and without what x stands for."""
        fixed = copy.deepcopy({k: v for k, v in config.items() if k not in NOT_IN_RUN_ID})
        fixed["control"].pop("names")
        for key in _below(self.tracker["x"], self.axes):
            *path, last = key.split(".")
            node = fixed
            for part in path:
                node = node[part]
            node.pop(last)
        return fixed

    def _x(self, config: dict[str, Any], data: dict[str, Any]) -> float:
        if self.tracker["x"] == "layer":
            return float(data["layers"]["source"])
        self.check(config)
        value = _number(_get(config, self.tracker["x"]))
        assert value is not None
        return value

    @property
    def group(self) -> str:
        """The W&B group."""
        return str(self.tracker["group"] or self.sweep)

    def _id(self, what: Any) -> str:
        """The same words for another project or sweep give another W&B run."""
        where = [self.sweep, self.tracker["project"], self.tracker["entity"], self.tracker["x"]]
        text = json.dumps([where, what], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def tag(override: str) -> str:
    """The W&B tag of an override; the filters of wandb-workspaces take `=` for an operator.

    Example:
        >>> tag("layer='8'")
        'layer:8'
    """
    return override.replace("=", ":", 1).replace("'", "")[:TAG_LENGTH]


def axis_name(x: str) -> str:
    """What an axis is called in W&B, where a dot in a name would mean a part of something.

    Example:
        >>> axis_name("dataset.size")
        'dataset_size'
    """
    return x.replace(".", "_")


def lead_row(control: Row, fitted: Row) -> Row:
    """Fitted minus control where the two come from different cells.

    Both are scored on the same items, so the difference of the means is the paired one; its interval needs the
    scores by item and is in the report.
    """
    both = [m for m in (NEW, *METRICS) if m in control.values and m in fitted.values]
    values = {f"lead/{m}": fitted.values[m] - control.values[m] for m in both}
    return Row("lead", control.x, f"{fitted.source}-{control.source}", values)


def as_plain(curve: Curve) -> dict[str, Any]:
    """A curve as JSON keeps it."""
    return asdict(curve)


def from_plain(plain: dict[str, Any]) -> Curve:
    """The curve that `as_plain` made `plain` of."""
    return Curve(**{**plain, "tags": tuple(plain["tags"])})


def _metrics(scores: dict[str, Any], states: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    found = [(m, scores[m]) for m in METRICS if m in scores]
    return found + [(m, states[m]) for m in STATE_METRICS if m in states]


def _below(x: str, axes: Sequence[str] | None = None) -> tuple[str, ...]:
    """Config keys that x stands for. Where source and target layers are swept apart, only the source's is x."""
    if x != "layer":
        return (x,)
    return ("layer.source",) if axes is not None and "layer.target" in axes else ("layer.source", "layer.target")


def _get(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _number(value: Any) -> float | None:
    """A number, or the last one in a text such as ``step3000``."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    found = re.findall(r"-?\d+(?:\.\d+)?", str(value)) if isinstance(value, str) else []
    return float(found[-1]) if found else None


def _short(value: Any) -> str:
    return f"a group ({', '.join(list(value)[:4])}, ...)" if isinstance(value, dict) else repr(value)
