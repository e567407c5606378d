"""Tables of maps by their place on an axis, for a terminal."""

from rich.table import Table

from bridge.results.comparison import Comparison
from bridge.results.ladders import Ladder, hardest
from bridge.show.fitting import fitting


def ladder_table(one: Ladder, width: int) -> Table:
    """Maps by their place on the axis: their score, the hardest negative control's, and the best baseline's."""
    return fitting(lambda form: _ladder_table(one, form), 4, width)


def _ladder_table(one: Ladder, form: int) -> Table:
    """Narrower forms: without intervals, without numbers of parameters, with the first and last place alone."""
    metric = one.task.by_name[one.metric]
    title = f"{one.pair}, {one.title}: {metric.title} (%)"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("map", no_wrap=True)
    parameters = {rung.name: rung.cells[0].data.get("fit", {}).get("n_parameters") for rung in one.rungs}
    is_counted = form < 2 and all(n is not None for n in parameters.values())
    if is_counted:
        table.add_column("parameters", justify="right", no_wrap=True)
    places = one.places if form < 3 else list(dict.fromkeys((one.places[0], one.places[-1])))
    for place in places:
        table.add_column(f"{one.axis.word}={place}", justify="right", no_wrap=True)
    for rung in one.rungs:
        counts = [f"{parameters[rung.name]:,}"] if is_counted else []
        table.add_row(rung.name, *counts, *(_share(one, rung.at(place), form < 1) for place in places))
    return table


def ladder_note(one: Ladder) -> str:
    """The explanation of a field."""
    baselines = one.task.conditions.baselines
    beside = f", and the better of {' and '.join(baselines)}" if baselines else ""
    return (
        f"each: map [95 %] | the hardest negative control{beside}; ~ not above every negative control, x dead or "
        "invalid"
    )


def _share(one: Ladder, c: Comparison | None, with_interval: bool) -> str:
    score = None if c is None else c.scores.get(c.estimate, {}).get(one.metric)
    if c is None or score is None:
        return "-"
    against = hardest(c, one.metric)
    mark = "x" if not c.valid else " " if c.is_above else "~"
    names = one.task.conditions.baselines
    baselines = [c.scores[name][one.metric] for name in names if one.metric in c.scores.get(name, {})]
    beside = [None if against is None else against[1], max(baselines, key=lambda s: float(s["mean"]), default=None)]
    numbers = ["-" if s is None else str(round(100 * float(s["mean"]))) for s in beside[: 1 + bool(names)]]
    share = round(100 * float(score["mean"]))
    interval = ""
    if with_interval and score["low"] is not None:
        interval = f" [{round(100 * score['low']):2d}, {round(100 * score['high']):2d}]"
    return f"{share:2d}{interval} | {' '.join(f'{x:>2s}' for x in numbers)}{mark}"
