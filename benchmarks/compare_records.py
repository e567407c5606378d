"""Compare the numbers of the records in two outputs folders, cell by cell.

    python -m benchmarks.compare_records OLD/outputs NEW/outputs

Cells are matched by what their task uses of the config; keys that only one side knows are left out. Records of version
5, which had no points, are read as well. Prints how many numbers were compared and the largest relative difference,
and exits with 1 where a number differs by more than 1e-9 or is missing.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.tasks.registry import get

TOLERANCE = 1e-9
# Below this size numbers are compared absolutely.
SMALL = 1e-3
FACTS = ("gates", "fit", "chance", "coverage", "over_layers")


def records(outputs: Path) -> dict[str, dict[str, Any]]:
    """What a cell is of -> its record.json."""
    every = (json.loads(path.read_text()) for path in sorted(outputs.glob("runs/*/record.json")))
    return {key(data): data for data in every if data["status"] == "done"}


def key(data: dict[str, Any]) -> str:
    """The config, of what the task uses, without what a newer version has added."""
    task = get(data["config"]["task"]["name"])
    return json.dumps(cleaned(task.used(data["config"])), sort_keys=True)


def cleaned(node: Any) -> Any:
    """A node without keys that older versions lack."""
    if not isinstance(node, dict):
        return node
    return {k: cleaned(v) for k, v in node.items() if k not in ("_target_", "kind", "pooling")}


def numbers(data: dict[str, Any]) -> dict[str, Any]:
    """Name -> number, of everything that a record says."""
    if "points" not in data:
        data = with_points(data)
    nodes = {f"point {i}": point for i, point in enumerate(data["points"])}
    return dict(leaves(nodes | {name: data[name] for name in FACTS if name in data}))


def with_points(data: dict[str, Any]) -> dict[str, Any]:
    """A record of version 5 as one of version 6."""
    if "measures" in data:
        return data | {
            "points": list(matrix_points(data)),
            "over_layers": {m: x["over_layers"] for m, x in data["measures"].items()},
        }
    totals = {
        name: {m: score for m, score in scores.items() if m != "explained_variance_per_feature"}
        for name, scores in data["state_scores"].items()
    }
    scores = {name: {**own, **totals.get(name, {})} for name, own in data["scores"].items()}
    sizes = {"n": data["n_eval"], "n_units": data["n_units"], "n_effective": data["n_effective"]}
    return data | {"points": [{"scores": scores, "contrasts": data["contrasts"], "parts": data["by_answer"], **sizes}]}


def matrix_points(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A point for each pair of layers of a record of version 5 that holds matrices."""
    for i, _ in enumerate(data["layers"]["source"]):
        for j, _ in enumerate(data["layers"]["target"]):
            scores: dict[str, Any] = {"observed": {}}
            contrasts: dict[str, Any] = {}
            for measure, matrices in data["measures"].items():
                scores["observed"][measure] = {"mean": matrices["value"][i][j]}
                for null, fields in matrices["nulls"].items():
                    at = {name: matrix[i][j] for name, matrix in fields.items()}
                    scores.setdefault(null, {})[measure] = {"mean": at["mean"], "q95": at["q95"]}
                    contrasts.setdefault(null, {})[measure] = {
                        "p": at["p"], "p_searched": at["p_corrected"], "calibrated": at["calibrated"],
                    }  # fmt: skip
            yield {"scores": scores, "contrasts": contrasts}


def leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number below a node, with where it is."""
    if isinstance(node, dict):
        for k, value in node.items():
            yield from leaves(value, f"{name}/{k}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from leaves(value, f"{name}/{i}")
    elif isinstance(node, int | float) or node is None:
        yield name, node


def difference(old: float | None, new: float | None) -> float:
    """Relative difference of two numbers; infinite where one is missing."""
    if old is None or new is None:
        return 0.0 if old is new else float("inf")
    return abs(old - new) / max(abs(old), abs(new), SMALL)


def main(old: str, new: str) -> int:
    """Compare and say what came of it."""
    before, after = records(Path(old)), records(Path(new))
    shared = before.keys() & after.keys()
    largest, where, n, lost = 0.0, "", 0, []
    for cell in sorted(shared):
        ours, theirs = numbers(before[cell]), numbers(after[cell])
        for name, value in ours.items():
            if name not in theirs:
                lost.append(name)
                continue
            n += 1
            if (d := difference(value, theirs[name])) > largest:
                largest, where = d, f"{name} of {after[cell]['run_id']}: {value} and {theirs[name]}"
    print(
        f"{len(shared)} cells of {len(before)} and {len(after)} compared: {n} numbers, largest difference {largest:.2g}"
    )
    if where:
        print(where)
    if lost:
        print(f"{len(lost)} numbers are missing in the new records, such as {lost[0]}")
    return int(not shared or largest > TOLERANCE or bool(lost))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
