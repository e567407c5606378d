"""The per-item scores of a cell as columns: one entry per control, draw and item."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.data.items import Item
from bridge.results.scores import Branch, Part


def item_columns(
    branches: Mapping[str, Branch],
    shown: Iterable[str],
    items: Sequence[Item],
    parts: Mapping[str, Part],
    metrics: Sequence[str],
) -> dict[str, Any]:
    """Columns of items.parquet.

    Args:
        branches: control -> scores (n_draws, m).
        shown: which controls, in order.
        items: the m eval items.
        parts: "known" says whose answer occurs among the fit rows.
        metrics: names of the scores; null where a control has none of that name.

    Returns:
        name -> values; `unit` numbers the units of inference, `known_token` and `known_answer` say whether the
        answer's first token, and the whole answer, is one of those that were fitted on.
    """
    known, m = parts["known"], len(items)
    about: dict[str, list[Any]] = {
        name: [getattr(item, name) for item in items] for name in ("prompt", "relation", "subject", "answer")
    }
    about |= {"unit": known.units.tolist(), "known_token": known.token.tolist(), "known_answer": known.whole.tolist()}
    columns: dict[str, list[Any]] = {name: [] for name in ("control", "draw", "item", *about, *metrics)}
    for name in shown:
        branch = branches[name]
        n_draws = branch.n_draws
        columns["control"] += [name] * (n_draws * m)
        columns["draw"] += [d for d in range(n_draws) for _ in range(m)]
        columns["item"] += list(range(m)) * n_draws
        for label, values in about.items():
            columns[label] += values * n_draws
        for metric in metrics:
            scores = branch.metrics.get(metric)
            columns[metric] += [None] * (n_draws * m) if scores is None else scores.flatten().tolist()
    return columns
