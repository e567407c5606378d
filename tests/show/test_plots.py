import re
from pathlib import Path

import pytest
from declared import TASK
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic_records import write_cell

from bridge.errors import RecordError
from bridge.records.record import read_all
from bridge.results.curves import grids
from bridge.results.joining import comparisons
from bridge.show import plots, row_plots

LOOKS = {name: TASK.conditions.look(name) for name in TASK.conditions}
LAYER, N_FIT = TASK.axes
TOP1, LOGPROB = TASK.head, TASK.by_name["logprob_nats"]


def test_every_control_and_reference_has_a_look_of_its_own():
    assert len({look.color for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)


def test_ceilings_references_and_the_mark_are_dashed_and_the_others_are_not():
    dashed = TASK.conditions.of_kind("ceiling", "reference", "mark")
    assert {n for n, look in LOOKS.items() if look.dash} == set(dashed)


def test_a_curve_has_a_line_and_a_ribbon_for_every_control(tmp_path):
    for layer in (2, 3, 4):
        write_cell(tmp_path, layers=(layer, layer))
    (grid,) = grids(comparisons(read_all(tmp_path)))
    svg = plots.curves(grid.along(LAYER), TOP1, LAYER)
    drawn = [look.color for name, look in LOOKS.items() if name != "gold_embedding"]
    for color in drawn:
        assert f"stroke: {color}" in svg
        assert color == "#000000" or f"fill: {color}; fill-opacity" in svg
    assert svg.count("fill-opacity") == len(drawn)
    assert LOOKS["gold_embedding"].color not in svg


@pytest.mark.parametrize("axis", [LAYER, N_FIT, None])
def test_one_single_point_is_drawn_with_its_interval(tmp_path, axis):
    write_cell(tmp_path)
    svg = plots.curves(comparisons(read_all(tmp_path)), LOGPROB, axis)
    assert "gold log-probability (nats)" in svg
    assert f"stroke: {LOOKS['fitted'].color}; stroke-opacity" in svg


def test_points_of_invalid_cells_are_hollow_and_the_panel_says_so(tmp_path):
    write_cell(tmp_path, layers=(3, 3), failed_gate="alive")
    write_cell(tmp_path, layers=(4, 4))
    cells = comparisons(read_all(tmp_path))
    both = plots.curves(cells, TOP1, LAYER)
    assert "hollow: dead" in both
    assert "fill: #ffffff; stroke: #d55e00" in both
    valid = plots.curves(cells[1:], TOP1, LAYER)
    assert "hollow" not in valid
    assert "fill: #ffffff; stroke: #d55e00" not in valid


def test_the_heat_map_writes_the_score_of_every_control_and_layer(tmp_path):
    for layer in (2, 3, 4):
        write_cell(tmp_path, layers=(layer, 4))
    cells = comparisons(read_all(tmp_path))
    svg = plots.heat_map(cells, TOP1, LAYER)
    for name in cells[0].scores:
        assert f">{name}</text>" in svg
    assert svg.count(f">{cells[0].mean('fitted'):.2f}</text>") >= 3
    assert all(f">{label}</text>" in svg for label in (2, 3, 4))
    assert ">layer of the source, into 4 of the target</text>" in svg


def test_a_field_without_a_score_is_marked_in_the_heat_map(tmp_path):
    write_cell(tmp_path, layers=(3, 3), controls=("fitted", "random"))
    write_cell(tmp_path, layers=(4, 4), controls=("fitted", "random", "identity"))
    assert plots.heat_map(comparisons(read_all(tmp_path)), TOP1, LAYER).count(">·</text>") == 1


def test_leads_are_shown_for_everything_but_the_fitted_map(tmp_path):
    write_cell(tmp_path)
    (c,) = comparisons(read_all(tmp_path))
    svg = row_plots.leads(c)
    for name in c.scores:
        assert (f">{name}</text>" in svg) == (name != "fitted")
    assert f"{c.contrasts['random']['top1']['difference']:+.2f}, p 0.048" in svg


def test_the_same_cells_give_the_same_plot_and_plots_share_no_ids(tmp_path):
    write_cell(tmp_path)
    cells = comparisons(read_all(tmp_path))
    one, two = (plots.curves(cells, TOP1, LAYER) for _ in range(2))
    assert one == two
    other = plots.curves(cells, LOGPROB, LAYER)
    ids = [{part.split('"')[0] for part in svg.split(' id="')[1:]} for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_a_grid_follows_the_fullest_row_and_fixes_its_cell_without_looking(tmp_path):
    for layer, n in ((2, 60), (3, 60), (4, 60), (4, 200)):
        write_cell(tmp_path, layers=(layer, layer), n=n)
    (grid,) = grids(comparisons(read_all(tmp_path)))
    assert [c.place("layer") for c in grid.along(LAYER)] == ["2→2", "3→3", "4→4"]
    assert [c.place("n_fit") for c in grid.along(N_FIT)] == ["60", "200"]
    assert grid.fixed.axes == {"layer": [4, 4], "n_fit": 200}


def test_a_curve_never_joins_cells_that_differ_in_more_than_layer_and_size(tmp_path):
    for seed in (0, 1):
        write_cell(tmp_path, seed=seed)
    write_cell(tmp_path, seed=0, normalize__scale="l2")
    cells = grids(comparisons(read_all(tmp_path)))
    assert [grid.title for grid in cells] == [
        "lm_head, normalize.scale=frobenius, seed=0",
        "lm_head, normalize.scale=frobenius, seed=1",
        "lm_head, normalize.scale=l2, seed=0",
    ]


def test_a_fitted_score_without_a_negative_control_is_withheld(tmp_path):
    write_cell(tmp_path, controls=("fitted", "same_model"))
    (c,) = comparisons(read_all(tmp_path))
    assert "fitted" in c.point["scores"]
    assert c.is_withheld
    assert set(c.scores) == {"same_model", "own_state", "native_source", "native_target"}
    assert not c.contrasts
    assert all("fitted" not in part["scores"] and not part["contrasts"] for part in c.parts.values())
    assert c.verdict().startswith("fitted score not shown, because no negative control was scored beside it")


@pytest.mark.parametrize(("name", "start"), [("figure.svg", b"<?xml"), ("figure.png", b"\x89PNG")])
def test_write_figure_writes_the_same_bytes_twice(tmp_path, name, start):
    for layer in (3, 4):
        write_cell(tmp_path / "outputs", layers=(layer, layer))
    path = plots.write_figure(tmp_path / "outputs", tmp_path / name)
    first = path.read_bytes()
    assert first.startswith(start)
    assert plots.write_figure(comparisons(read_all(tmp_path / "outputs")), tmp_path / name).read_bytes() == first
    if name.endswith("svg"):
        assert all(f">{control}</text>" in first.decode() for control in TASK.conditions.chosen)


def test_a_figure_has_a_row_for_each_data_set_and_part_new_answers_first(tmp_path):
    for layer in (3, 4):
        write_cell(tmp_path / "outputs", layers=(layer, layer))
        write_cell(tmp_path / "outputs", layers=(layer, layer), dataset__name="invented", all_new=True)
    drawn = plots.write_figure(tmp_path / "outputs", tmp_path / "figure.svg").read_text()
    headings = re.findall(r">([^<>]*): (new|all) answers</text>", drawn)
    assert [(heading.rsplit(", ")[-1], part) for heading, part in headings] == [
        ("facts", "new"),
        ("facts", "all"),
        ("invented", "new"),
    ]


def test_a_row_of_a_figure_has_three_panels_at_most(tmp_path):
    for name in ("lm_head", "late_layer", "soft_prefix", "late_layer_same_prompt"):
        write_cell(tmp_path / "outputs", injection__name=name)
    drawn = plots.write_figure(tmp_path / "outputs", tmp_path / "figure.svg").read_text()
    assert len(re.findall(r">[^<>]*: new answers</text>", drawn)) == 2
    assert all(f">{name}, n=100</text>" in drawn for name in ("lm_head", "soft_prefix"))


def test_write_figure_without_a_finished_cell_says_what_to_do(tmp_path):
    with pytest.raises(RecordError, match=r"no finished cell in .*runs; wanted at least one: run bridge first"):
        plots.write_figure(tmp_path, Path("figure.svg"))


def test_ceilings_that_coincide_leave_each_other_room(tmp_path):
    same = ("same_model", "planted", "own_state", "native_target")
    spans = []
    for name in same:
        look = LOOKS[name]
        assert look.dash == (3, 9)
        assert look.width == LOOKS["same_model"].width
        # matplotlib draws from `start` on in the pattern, so a dash begins where the start has run out
        spans.append((-look.start) % 12)
    assert sorted(spans) == [0, 3, 6, 9]
    for layer in (3, 4):
        write_cell(tmp_path, layers=(layer, 4), rates=dict.fromkeys(same, 0.9))
    ax = Figure().add_subplot()
    plots.draw_curves(ax, comparisons(read_all(tmp_path)), TOP1, LAYER)
    lines = {line.get_color(): line for line in ax.lines if line.get_linestyle() != "None"}
    ends = {name: lines[LOOKS[name].color].get_xdata() for name in same}
    assert all(list(xs) == pytest.approx([3.0, 4.0]) for xs in ends.values())
    (at,) = [
        line.get_xdata() for line in ax.lines if line.get_marker() == LOOKS["planted"].marker and len(line.get_xdata())
    ]
    assert at[0] != pytest.approx(3.0)


def test_new_answers_are_the_bold_marks_above_the_known_ones(tmp_path):
    write_cell(tmp_path, new_rates={"fitted": 0.2})
    (c,) = comparisons(read_all(tmp_path))
    drawn = []
    original = Axes.plot

    def plot(self, x, y, **style):
        drawn.append((x, y, style))
        return original(self, x, y, **style)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "plot", plot)
        row_plots.by_part(c)
    marks = [(x[0], y[0], style["marker"]) for x, y, style in drawn if "marker" in style]
    new, known = (c.parts[part]["scores"]["fitted"]["top1"]["mean"] for part in ("new", "known"))
    assert (new, -0.17, "o") in marks
    assert (known, 0.17, "|") in marks
    assert new < known - 0.2
    widths = {y[0]: style["linewidth"] for _, y, style in drawn if "linewidth" in style}
    assert widths[-0.17] > widths[0.17]
