"""Tables for a terminal, at the widths that terminals have."""

import io
import re
from pathlib import Path

import pytest
from declared import BASELINES, KINDS, NEGATIVES, point
from rich.console import Console, RenderableType
from synthetic_records import N_ITEMS, NO_RELATIONS, write_cell

from bridge.controls.names import CONTROLS
from bridge.records.record import read_all
from bridge.results.comparison import Comparison
from bridge.results.families import Family
from bridge.results.joining import comparisons
from bridge.results.ladders import ladders
from bridge.show.grid_footer import grid_footer
from bridge.show.grid_tables import grid_tables
from bridge.show.ladder_tables import ladder_note, ladder_table
from bridge.show.tables import print_comparison

WIDTHS = (80, 100, 120)
INTERVAL = r"(?:\d\.\d{3} \[\d\.\d\d, \d\.\d\d\])"


def shown(what: RenderableType | Comparison, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    if isinstance(what, Comparison):
        print_comparison(what, console)
    else:
        console.print(what)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    return text


def row(text: str, name: str) -> str:
    (line,) = [
        line
        for line in text.partition("[95 %]: over")[0].splitlines()
        if re.match(rf"{name}(?: x20)? +(?:\d|-|absent)", line)
    ]
    return line


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [*WIDTHS, 200])
def test_one_cell_shows_every_control_on_a_line_of_its_own_new_answers_first(tmp_path: Path, width: int) -> None:
    (c,) = comparisons([write_cell(tmp_path, new_rates={"fitted": 0.3})])
    text = shown(c, width)
    new = c.parts["new"]["scores"]
    for name in c.scores:
        numbers = re.findall(INTERVAL, row(text, name))
        means = [f"{score['mean']:.3f}" for score in (new[name]["top1"], c.scores[name]["top1"])]
        assert [n.split()[0] for n in numbers[:2]] == means, name
    assert new["fitted"]["top1"]["mean"] < c.mean("fitted", "top1") - 0.1
    n_new, n_units = c.parts["new"]["n"], c.point["n_units"]
    assert f"new answers ({n_new}) all answers ({N_ITEMS})" in flat(text)
    assert text.splitlines()[0].strip() == f"tiny: layer 4→4, lm_head, n=100, {N_ITEMS} items, {n_units} units (answer)"
    known = c.parts["known"]
    parts = f"new {n_new} items of {c.parts['new']['n_units']} units, known {known['n']} items of {known['n_units']}"
    assert f"answers: {parts} units; new: which no fit row has" in flat(text)
    assert "of random x20, shuffled x20, shuffled_within x20, clustered x20 the lowest and the highest" in flat(text)
    assert ("(nats)" in text, "random x20  " in text) == (width >= 120, width >= 100)
    # The source's own score is no share of the target's.
    if width >= 120:
        assert ("%" in row(text, "own_state"), "%" in row(text, "native_source")) == (True, False)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_lead_and_the_p_of_both_parts_stand_beside_every_control_but_the_mark(tmp_path: Path, width: int) -> None:
    (c,) = comparisons([write_cell(tmp_path)])
    text = shown(c, width)
    lead = c.contrasts["mean"]["top1"]
    lead_text = f"{lead['difference']:+.3f}"
    if width >= 100:
        lead_text += f" [{lead['low']:+.2f}, {lead['high']:+.2f}]"
    assert lead_text in row(text, "mean")
    for name in ("random", "shuffled", "shuffled_within"):
        assert row(text, name).split()[-2:] == ["0.048", "0.048"]  # 1 / (1 + 20)
    assert len(re.findall(r"(?:<|\d)\.\d{3}$", row(text, "lookup"))) == 1
    mark = c.contrasts["clustered"]["top1"]
    assert (
        row(text, "clustered")
        .rstrip()
        .endswith(f"{mark['high']:+.2f}]" if width >= 100 else f"{mark['difference']:+.3f}")
    )


def test_the_verdict_is_the_last_line_and_says_whether_the_map_is_above_lookup(tmp_path: Path) -> None:
    rates = {"fitted": 0.7, "lookup": 0.72}
    (below,) = comparisons([write_cell(tmp_path, rates=rates, new_rates={"fitted": 0.02, "lookup": 0.0})])
    assert flat(shown(below, 120)).endswith(
        "; all answers: above every negative control, and above bag_of_words, but not above lookup"
    )
    assert "new answers: not above random" in flat(shown(below, 120))
    (above,) = comparisons([write_cell(tmp_path, seed=1)])
    assert flat(shown(above, 120)).endswith(
        "new answers: above every negative control, and above lookup and bag_of_words; "
        "all answers: above every negative control, and above lookup and bag_of_words"
    )


def test_few_units_are_said_with_what_follows_and_have_no_p_below_six(tmp_path: Path) -> None:
    few = "items of one unit depend on each other, so intervals are wide"
    (c,) = comparisons([write_cell(tmp_path, n_units=12)])
    assert f"only 12 units (answer): {few}" in flat(shown(c, 120))
    assert "and no p is given" not in shown(c, 120)
    # 6 of the 12 units have new answers by their whole answer, 5 of them by its first token.
    assert row(shown(c, 120), "mean").split()[-2] == "-"
    assert "new answers: no test, only 5 units" in flat(shown(c, 120))
    (c,) = comparisons([write_cell(tmp_path, n_units=4, seed=1)])
    assert f"only 4 units (answer): {few}, and no p is given below 6 units" in flat(shown(c, 120))
    for name in ("random", "mean", "lookup"):
        assert row(shown(c, 120), name).split()[-2:] == ["-", "-"]
    (c,) = comparisons([write_cell(tmp_path, n_units=20, seed=2)])
    assert "only" not in shown(c, 120)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_control_that_cannot_mean_what_it_says_is_absent_with_the_reason(tmp_path: Path, width: int) -> None:
    (c,) = comparisons([write_cell(tmp_path, absent={"shuffled_within": NO_RELATIONS})])
    text = shown(c, width)
    assert row(text, "shuffled_within").split() == ["shuffled_within", "absent", "absent"]
    assert flat(text).endswith(f"; no shuffled_within: {NO_RELATIONS}")
    assert "not scored here" not in text
    grid = shown(*grid_tables([c], width), width)
    assert (grid.count("yes"), grid.count("both")) == (2, 1)
    assert f"no shuffled_within: {NO_RELATIONS} (1 of 1 cells)" in grid_footer([c])


def test_a_fitted_score_alone_is_not_shown_and_the_controls_not_scored_are_named(tmp_path: Path) -> None:
    (c,) = comparisons([write_cell(tmp_path, controls=("fitted",))])
    text = flat(shown(c, 100))
    assert not [line for line in shown(c, 100).splitlines() if line.startswith("fitted ") and re.search(r"0\.\d", line)]
    missing = ", ".join(name for name in CONTROLS if name != "fitted")
    assert f"not scored here: {missing} (control=all scores everything)" in text
    assert text.endswith(
        "fitted score not shown, because no negative control was scored beside it; run it with control=all"
    )
    (line,) = [line for line in shown(*grid_tables([c], 120), 120).splitlines() if "4→4" in line]
    assert line.split()[3:5] == ["-", "-"]
    assert line.split()[-3:] == ["-", "-", "-"]


def test_a_map_that_was_fitted_before_has_no_line_on_its_way_back(tmp_path: Path) -> None:
    made = write_cell(tmp_path)
    (c,) = comparisons([made])
    assert any("there and back: relative error 0.40" in line for line in c.task.lines(c))
    del made.data["fit"]["cycle"]
    (line,) = [line for line in c.task.lines(c) if line.startswith("fit: ")]
    assert "there and back" not in line
    assert "outside the fitted span; lookup takes 1 neighbour" in line


def test_every_gate_is_shown_with_its_value_and_what_is_wanted_of_it(tmp_path: Path) -> None:
    (c,) = comparisons([write_cell(tmp_path, failed_gate="alive")])
    text = flat(shown(c, 120))
    assert (
        "gates: states passed (1e-06, wanted <= 0.001), drift passed (1e-06, wanted <= 0.001), pairing passed (0.002, "
        "wanted <= 0.05), known passed (0.92, wanted > 0.05), alive FAILED (0.14, wanted 0.8 to 1.25), planted passed "
        "(1e-15, wanted <= 0.05)"
    ) in text
    assert text.endswith("dead: the target's own states, put in without a map, reach only 14% of its native score")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_grid_is_one_row_per_cell_new_answers_first_and_lookup_beside(tmp_path: Path, width: int) -> None:
    made = [
        write_cell(tmp_path, layers=(2, 4), new_rates={"fitted": 0.02}, rates={"lookup": 0.1}),
        write_cell(tmp_path, layers=(3, 4), failed_gate="alive"),
        write_cell(tmp_path, layers=(30, 32), rates={"fitted": 0.02, "lookup": 0.3}, injection={"name": "late_layer"}),
    ]
    cells = Family(comparisons(made)).cells
    text = shown(*grid_tables(cells, width), width)
    assert text.splitlines()[0].strip() == "tiny: top-1"
    heading = [line.split() for line in text.splitlines()[1:4]]
    assert heading[0][:2] == ["new", "new"]
    rows = {r[1]: r for r in (line.split() for line in text.splitlines() if "→" in line)}
    assert list(rows) == ["30→32", "2→4", "3→4"]
    for c in cells:
        line = rows[f"{c.data['layers']['source']}→{c.data['layers']['target']}"]
        new = c.parts["new"]["scores"]
        hardest = max(new[name]["top1"]["mean"] for name in NEGATIVES)
        assert line[3:6] == [f"{v:.2f}" for v in (new["fitted"]["top1"]["mean"], hardest, c.mean("fitted"))]
        names = ("lookup", "bag_of_words", "clustered")[: 2 if width < 100 else 3]
        beside = [f"{c.mean(name):.2f}" for name in names]
        assert set(beside) <= set(line[6:])
        if width >= 120:
            assert line[5:16] == [f"{c.mean(name):.2f}" for name in list(CONTROLS)]
    assert rows["2→4"][-3:] == ["no", "yes", "both"]
    assert rows["30→32"][-3:] == ["no", "no", "none"]
    assert rows["3→4"][-1] == "dead"


def test_a_map_below_a_table_of_known_answers_is_said_not_to_be_above_it(tmp_path: Path) -> None:
    (c,) = comparisons([write_cell(tmp_path, rates={"lookup": 0.8})])
    (line,) = [line.split() for line in shown(*grid_tables([c], 100), 100).splitlines() if "4→4" in line]
    assert line[-3:] == ["yes", "yes", "words"]


def test_on_a_narrow_screen_the_hardest_control_stands_for_the_negative_ones(tmp_path: Path) -> None:
    (c,) = comparisons([write_cell(tmp_path)])
    text = shown(*grid_tables([c], 80), 80)
    hardest = max(c.mean(name) or 0.0 for name in NEGATIVES)
    (line,) = [line.split() for line in text.splitlines() if "4→4" in line]
    assert line[5:7] == [f"{c.mean('fitted'):.2f}", f"{hardest:.2f}"]
    assert c.mean("shuffled_within") == hardest > 0.1


@pytest.mark.parametrize("width", WIDTHS)
def test_wide_words_and_numbers_are_not_broken(tmp_path: Path, width: int) -> None:
    same = {"name": "late_layer", "context": "same"}
    for layer in (8, 16):
        write_cell(tmp_path, layers=(layer, 16), n=10_000, injection=same)
        write_cell(tmp_path, layers=(layer, 16), n=10_000, failed_gate="pairing", seed=1, injection=same)
    text = shown(*grid_tables(comparisons(read_all(tmp_path)), width), width)
    rows = [line for line in text.splitlines() if "10000" in line]
    assert len(rows) == 4
    assert all(len(re.findall(r"\d\.\d\d(?!\d)", line)) == len(re.findall(r"\d\.", line)) for line in rows)
    assert sum(line.rstrip().endswith("invalid") for line in rows) == 2


def test_a_grid_shows_a_dash_where_a_control_was_not_scored(tmp_path: Path) -> None:
    made = [write_cell(tmp_path), write_cell(tmp_path, layers=(2, 4), controls=("fitted", "random"))]
    text = shown(*grid_tables(comparisons(made), 120), 120)
    (line,) = [line.split() for line in text.splitlines() if "2→4" in line]
    assert [cell == "-" for cell in line[5:16]] == [False, False, *[True] * 9]
    assert line[-3:] == ["open", "open", "-"]


def test_a_large_grid_shows_the_best_layer_of_each_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("grid_tables", "grid_footer"):
        monkeypatch.setattr(f"bridge.show.{module}.MOST_ROWS", 3)
    for layer, rate in ((1, 0.3), (2, 0.8)):
        write_cell(tmp_path, layers=(layer, 4), rates={"fitted": rate})
        write_cell(tmp_path, layers=(layer, 4), n=7, failed_gate="states")
        write_cell(tmp_path, layers=(layer, 4), n=8, controls=("random", "mean"))
    cells = Family(comparisons(read_all(tmp_path))).cells
    text = shown(*grid_tables(cells, 100), 100)
    assert text.splitlines()[0].strip() == "tiny: top-1 at the best layer of each curve"
    (best,) = [line.split() for line in text.splitlines() if "→4" in line]
    assert (best[1], best[-3:]) == ("2→4", ["yes", "yes", "both"])
    assert {"none", "no"} <= {line.split()[-1] for line in text.splitlines() if " 7 " in line or " 8 " in line}
    assert "p corrected for the search over layers and 3 curves; the first 3 curves are shown" not in grid_footer(cells)
    assert "p corrected for the search over layers and 3 curves" in grid_footer(cells)


def test_the_verdict_after_the_search_stands_under_all_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.show.grid_tables.MOST_ROWS", 1)
    made = [write_cell(tmp_path, layers=(i, 4), rates={"fitted": 0.9}, new_rates={"fitted": 0.02}) for i in (1, 2)]
    text = shown(*grid_tables(Family(comparisons(made)).cells, 120), 120)
    (best,) = [line.split() for line in text.splitlines() if "→4" in line]
    assert best[-3:-1] == ["no", "yes"]


def test_the_footer_counts_what_may_be_concluded_part_by_part(tmp_path: Path) -> None:
    made = [
        write_cell(tmp_path, new_rates={"fitted": 0.02}, rates={"lookup": 0.8}),
        write_cell(tmp_path, seed=1),
        write_cell(tmp_path, layers=(3, 4), failed_gate="alive"),
    ]
    lines = grid_footer(Family(comparisons(made)).cells).splitlines()
    assert lines[0] == "all gates passed in 2 of 3 cells; n: items to fit on"
    assert lines[1] == (
        "fitted above every negative control on new answers in 1 of 2 valid cells, on all answers in 2; "
        "above lookup in 1 of 2; above bag_of_words in 2 of 2"
    )
    assert lines[2].startswith(
        "20 draws of each random control, ranked over all cells at once: p of a rank is at least 0.048"
    )
    assert lines[3].startswith(
        f"top-1 over {point(made[0].data)['n_units']} units (answer); p of all cells together (Holm)"
    )
    (few,) = comparisons([write_cell(tmp_path, n_units=4, seed=2)])
    assert "only 4 units (answer)" in grid_footer([few])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_ladder_shows_the_hardest_control_and_the_better_baseline_beside_every_share(
    tmp_path: Path, width: int
) -> None:
    made = [
        write_cell(tmp_path, n=n, map={"name": name}, rates={"fitted": rate})
        for n in (100, 200, 400, 1000)
        for name, rate in (("orthogonal", 0.1), ("mlp_target", 0.7))
    ]
    (one,) = ladders(comparisons(made))
    text = shown(ladder_table(one, width), width)
    for rung in one.rungs:
        (line,) = [line for line in text.splitlines() if line.startswith(rung.name)]
        cells = re.findall(r"(\d+)(?: \[ *\d+, +\d+\])? \| +(\d+) +(\d+)([~x]?)", line)
        assert len(cells) == 4
        for (share, hardest, baseline, mark), c in zip(cells, rung.cells, strict=True):
            shares = {
                name: round(100 * c.scores[name]["fraction_of_native"]["mean"]) for name in c.scores if name in KINDS
            }
            assert int(share) == shares["fitted"]
            assert int(hardest) == max(shares[name] for name in NEGATIVES)
            assert int(baseline) == max(shares[name] for name in BASELINES)
            assert mark == ("" if c.is_above else "~")
    assert ("[" in text, "parameters" in text) == (width >= 120, True)
    assert "the better of lookup and bag_of_words" in ladder_note(one)


@pytest.mark.parametrize("most", [60, 3])
def test_each_data_set_has_a_table_and_a_count_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    for module in ("grid_tables", "grid_footer"):
        monkeypatch.setattr(f"bridge.show.{module}.MOST_ROWS", most)
    made = [write_cell(tmp_path, layers=(layer, 4), new_rates={"fitted": 0.02}) for layer in (2, 3)]
    made += [write_cell(tmp_path, layers=(layer, 4), all_new=True, dataset__name="attributes") for layer in (2, 3)]
    cells = Family(comparisons(made)).cells
    tables = [shown(table, 120) for table in grid_tables(cells, 120)]
    search = " at the best layer of each curve" if most < 4 else ""
    assert [table.splitlines()[0].strip() for table in tables] == [
        f"tiny, attributes: top-1{search}",
        f"tiny, facts: top-1{search}",
    ]
    assert [table.count("→4") for table in tables] == ([1, 1] if most < 4 else [2, 2])
    counts = [line for line in grid_footer(cells).splitlines() if "above every negative control on new" in line]
    assert [line.partition(" valid")[0] for line in counts] == [
        "attributes: fitted above every negative control on new answers in 2 of 2",
        "facts: fitted above every negative control on new answers in 0 of 2",
    ]
