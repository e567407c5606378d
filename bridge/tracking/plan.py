"""From records to curves: the curve of every point, and its place on it."""

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bridge.errors import ConfigError
from bridge.records.record import NOT_IN_RUN_ID
from bridge.results.axes import Axis
from bridge.tasks import registry
from bridge.tasks.base import Task
from bridge.tracking.curves import Curve, Row, axis_name, tag, values


def axis_of(task: Task, x: str | None, config: Mapping[str, Any] | None = None) -> Axis | None:
    """The axis of a task that `tracker.x` stands for; None where it is a config key, or the task has no axes.

    By default, and if `x` is an axis of other tasks only, it is the axis that is searched for a best place, or else the
    first.

    Args:
        task: of the points.
        x: an axis, a config key, or None.
        config: of a cell.
    """
    named = next((axis for axis in task.axes if axis.name == x), None)
    if named is not None or not task.axes:
        return named
    if x is None or (_number(_get(config or {}, x)) is None and x in _all_axes()):
        return task.searched or task.axes[0]
    return None


@cache
def _all_axes() -> frozenset[str]:
    return frozenset(axis.name for name in registry.names() for axis in registry.get(name).axes)


@dataclass(frozen=True)
class Plan:
    """How the cells of one sweep become curves.

    Args:
        sweep: the sweep's name.
        tracker: project, entity, group, x and run_per.
        axes: override keys that are swept.
    """

    sweep: str
    tracker: Mapping[str, Any]
    axes: Sequence[str]

    @property
    def fits_all(self) -> bool:
        """Whether every cell has a place on the axis, whatever its config."""
        return self.tracker["x"] is None or self.tracker["run_per"] == "cell"

    def check(self, config: dict[str, Any]) -> None:
        """Check that a cell has a place on the axis.

        Raises:
            ConfigError: the value of `tracker.x` holds no number.
        """
        if self.fits_all or self._axis(config) is not None:
            return
        key = self.tracker["x"]
        value = _get(config, key)
        if isinstance(value, dict) or _number(value) is None:
            held = "is not in the config" if value is None else f"is {_short(value)}, which holds no number"
            axes = registry.get(config["task"]["name"]).axes
            some = [axis.keys[0] if len(axis.keys) == 1 else axis.name for axis in axes]
            raise ConfigError(
                f"tracker.x={key} {held}; wanted a key whose value is or holds a number: give "
                f"{', '.join([*some, 'seed'])}, or another one"
            )

    def rows(self, config: dict[str, Any], overrides: Sequence[str], data: dict[str, Any]) -> list[tuple[Curve, Row]]:
        """The rows of one record: at each of its points, one for the curve of each condition."""
        task, axis = registry.task_of(data), self._axis(config)
        x = self.tracker["x"] if axis is None else axis.name
        chosen = self.tracker["x"] is not None and self.tracker["x"] == x
        if self.tracker["run_per"] == "cell" or x is None or not (task.curves or chosen):
            return [self._cell(config, overrides, data)]
        curve_rows = []
        points = data["points"]
        # If controls are fanned out over cells, those that stand beside the estimate come with other records.
        if not {"control", "control.names"} & set(self.axes):
            points = [_shown(task, point) for point in points]
        for point in points:
            place = self._place(axis, config, point)
            if place is None:
                # A place that is a name has no position on a curve.
                return [self._cell(config, overrides, data)]
            held = _held(task, axis, points, point)
            fixed = self._fixed(axis, x, config) | ({"axes": held} if held else {})
            for condition in point["scores"]:
                scores = {"valid": float(data["valid"])} | values(task, point, condition)
                curve = self._curve(task, axis, x, fixed, overrides, condition)
                curve_rows.append((curve, Row("scores", place, data["run_id"], scores)))
        return curve_rows

    def _cell(self, config: dict[str, Any], overrides: Sequence[str], data: dict[str, Any]) -> tuple[Curve, Row]:
        kept = {k: v for k, v in config.items() if k not in NOT_IN_RUN_ID}
        identity = self._id(None, ["cell", data["run_id"]])
        name = ", ".join(overrides) or data["run_id"]
        tags = tuple(tag(o) for o in overrides)
        config = {**kept, "sweep": self.sweep}
        curve = Curve(identity, identity, "cell", name, self.group, tags, config, None)
        return curve, Row("scores", 0.0, data["run_id"], registry.task_of(data).flat(data))

    def _curve(
        self, task: Task, axis: Axis | None, x: str, fixed: dict[str, Any], overrides: Sequence[str], condition: str
    ) -> Curve:
        base, control = self._id(x, fixed), fixed.get("control", {})
        left_out = ("control", "control.names", x, *self._keys(axis, x))
        swept = [o for o in overrides if o.partition("=")[0] not in left_out]
        places = [f"{name}={'→'.join(map(str, _tuple(place)))}" for name, place in fixed.get("axes", {}).items()]
        named = [*swept, *places]
        config = {**copy.deepcopy(fixed), "control": {**control, "name": condition}, "sweep": self.sweep, "x": x}
        groups = [group for group in ("pair", task.heading) if group in task.uses]
        always = [f"{group}={fixed[group]['name']}" for group in groups]
        tags = tuple(dict.fromkeys(tag(t) for t in (*always, *named)))
        name = ", ".join([condition, *named])
        return Curve(self._id(x, [base, condition]), base, condition, name, self.group, tags, config, axis_name(x))

    def _fixed(self, axis: Axis | None, x: str, config: dict[str, Any]) -> dict[str, Any]:
        """The config without settings, without the names of conditions, and without the keys of x."""
        fixed = copy.deepcopy({k: v for k, v in config.items() if k not in NOT_IN_RUN_ID})
        for key in ("control.names", *self._keys(axis, x, self.axes)):
            *path, last = key.split(".")
            node = fixed
            for part in path:
                node = node.get(part, {})
            node.pop(last, None)
        return fixed

    def _keys(self, axis: Axis | None, x: str, swept: Sequence[str] = ()) -> tuple[str, ...]:
        """The config keys of x. If the second of a pair of places is swept separately, only the first is x."""
        if axis is None:
            return (x,)
        return axis.keys[:1] if any(key in swept for key in axis.keys[1:]) else axis.keys

    def _axis(self, config: dict[str, Any]) -> Axis | None:
        return axis_of(registry.get(config["task"]["name"]), self.tracker["x"], config)

    def _place(self, axis: Axis | None, config: dict[str, Any], point: Mapping[str, Any]) -> float | None:
        """Where a point lies on x; of a pair of places the first counts."""
        if axis is not None:
            return _number(_tuple(axis.value(point["axes"]))[0])
        self.check(config)
        return _number(_get(config, self.tracker["x"]))

    @property
    def group(self) -> str:
        """The W&B group."""
        return str(self.tracker["group"] or self.sweep)

    def _id(self, x: str | None, what: Any) -> str:
        """The id of a W&B run; it differs between projects and sweeps."""
        where = [self.sweep, self.tracker["project"], self.tracker["entity"], x]
        text = json.dumps([where, what], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(task: Task, point: Mapping[str, Any]) -> dict[str, Any]:
    """A point without scores of the estimate that stand beside no negative control."""
    beside = task.conditions.beside_negatives
    parts = {name: {**part, "scores": beside(part.get("scores", {}))} for name, part in point["parts"].items()}
    return {**point, "scores": beside(point["scores"]), "parts": parts}


def _held(task: Task, x: Axis | None, points: Sequence[Mapping[str, Any]], point: Mapping[str, Any]) -> dict[str, Any]:
    """The places of a point on the axes other than x that have no config key, or several places in its record."""
    held: dict[str, Any] = {}
    for axis in task.axes:
        places = {axis.value(other["axes"]) for other in points}
        if axis == x:
            # If pairs of places share their first, the second is fixed along a curve.
            firsts = {_tuple(place)[0] for place in places}
            if len(firsts) < len(places):
                held[axis.name] = list(_tuple(axis.value(point["axes"]))[1:])
        elif len(places) > 1 or not axis.keys:
            held[axis.name] = point["axes"][axis.name]
    return held


def _tuple(place: Any) -> tuple[Any, ...]:
    return tuple(place) if isinstance(place, tuple | list) else (place,)


def _get(config: Mapping[str, Any], key: str) -> Any:
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
    numbers = re.findall(r"-?\d+(?:\.\d+)?", str(value)) if isinstance(value, str) else []
    return float(numbers[-1]) if numbers else None


def _short(value: Any) -> str:
    return f"a group ({', '.join(list(value)[:4])}, ...)" if isinstance(value, dict) else repr(value)
