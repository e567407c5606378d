import json
import re
from html.parser import HTMLParser

import pytest
from synthetic_records import N_ITEMS, N_RESAMPLES, NO_RELATIONS, RATES, write_cell, write_failed

from bridge.controls.names import CONTROLS
from bridge.errors import RecordError
from bridge.report.document import write_report
from bridge.results.joining import comparisons
from bridge.tasks.translate.conditions import CONDITIONS

SECTIONS = ("answers", "over-layer", "over-n_fit", "map", "leads", "scores")


def sections(page):
    """Section id -> its HTML; the head is under ''."""
    parts = page.split('<section id="')
    return {"": parts[0]} | {part.split('"')[0]: part for part in parts[1:]}


class Balance(HTMLParser):
    VOID = ("meta", "br", "path", "use", "rect", "circle")

    def __init__(self):
        super().__init__()
        self.open = []
        self.ids = []
        self.loads = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        self.loads += [found[k] for k in ("src", "href", "xlink:href", "data", "action") if k in found]
        if tag in ("link", "script", "iframe", "img", "object"):
            self.loads.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a small grid: two injections, one of them dead, two layers, two sizes, and a failed cell."""
    tmp_path = tmp_path_factory.mktemp("outputs")
    for layer in (3, 4):
        for n in (60, 200):
            write_cell(tmp_path, layers=(layer, 4), n=n, warnings=("n=60 fit rows are fewer than d=128",) * (n == 60))
            write_cell(
                tmp_path,
                layers=(layer, 4),
                n=n,
                failed_gate="alive",
                rates={"fitted": 0.06, "same_model": 0.12, "own_state": 0.13, "gold_embedding": 0.5},
                injection={"name": "soft_prefix"},
            )
    write_failed(tmp_path, "layer 99 <b>is</b> out of range", 'Traceback\n  File "run.py" & more', layer__source="99")
    return write_report(tmp_path).read_text()


@pytest.mark.parametrize("name", ["", *SECTIONS])
def test_every_control_stands_beside_the_fitted_score_in_every_section(page, name):
    part = sections(page)[name]
    assert "fitted" in part
    panels = re.findall(r"<figure.*?</figure>", part, flags=re.DOTALL) or [part]
    if name == "map":
        # of all cells, on new answers and on all
        new, every = panels.pop(0), panels.pop(0)
        assert "Fitted − hardest negative control" in new
        assert "Fitted − hardest negative control" in every
    assert len(panels) == {"": 2, "over-layer": 6, "over-n_fit": 6, "scores": 1, "map": 4, "leads": 4}.get(name, 2)
    for panel in panels:
        for control in RATES:
            if not (name == "leads" and control == "fitted"):
                assert f">{control}<" in panel, (name, control)


def test_the_head_gives_counts_verdicts_and_the_hardest_control_of_the_best_cell(page, tmp_path):
    head = sections(page)[""]
    assert "8 cells finished, 4 valid, 4 dead, 0 otherwise invalid, 1 failed" in head
    assert (
        "New answers: above every negative control in 4 of 4 valid cells, above lookup in 4, above bag_of_words in 4."
        in head
    )
    assert (
        "All answers: above every negative control in 4 of 4 valid cells, above lookup in 4, above bag_of_words in 4."
        in head
    )
    assert head.index("New answers: above") < head.index("All answers: above")
    assert "reach only 14% of its native score in 4 of 4 cells." in head
    assert "for shuffled_within, the hardest negative control" in head
    assert head.count("The ceiling same_model is at") == 2
    assert "Best of 4 valid cells, so chosen after looking" in head
    (c, *_) = comparisons([write_cell(tmp_path)])
    new = c.parts["new"]
    sentence = (
        f"On the {new['n']} eval items ({new['n_units']} units) with new answers, which no fit row has, top-1: fitted "
    )
    means = {part: f"{c.parts[part]['scores']['fitted']['top1']['mean']:.2f}" for part in ("new", "known")}
    assert means["new"] != means["known"]
    assert f"{sentence}{means['new']} [" in head
    whole = f"On all {N_ITEMS} eval items ({c.point['n_units']} units), top-1: fitted "
    assert head.index(sentence) < head.index(whole)
    assert "On all items it is above lookup, a table of known answers, which reaches 0." in head
    assert f"Knowing only which items share an answer is worth {c.mean('clustered'):.2f}." in head


def test_new_answers_come_before_everything_else_in_the_page_and_its_links(page):
    ids = re.findall(r'<section id="([\w-]+)">', page)
    shown = ["answers", "best", "map", "plane", "over-layer", "over-n_fit", "leads", "scores", "gates", "run"]
    assert ids == shown
    assert re.findall(r'<a href="#([\w-]+)">', page[: page.index("</nav>")]) == ids
    part = sections(page)["answers"]
    assert "Bold marks: new answers, which no fit row has. Faint marks: known answers." in part
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", part)[1:]]
    assert [row[1] for row in rows] == ["new", "known"] * 2
    assert all(int(row[2]) > int(row[3]) > 1 for row in rows)


def test_few_units_are_said_in_the_card_and_among_the_warnings(tmp_path):
    write_cell(tmp_path, n_units=12)
    parts = sections(write_report(tmp_path).read_text())
    sentence = "nly 12 units (answer): items of one unit depend on each other, so intervals are wide"
    assert f"O{sentence}." in parts[""]
    assert f"few units</b>: o{sentence}" in parts["gates"]
    assert "New answers: no test, only 5 units; all answers: above every negative control" in parts[""]


def test_without_new_answers_nothing_is_said_about_them(tmp_path):
    record = write_cell(tmp_path)
    path = record.folder / "record.json"
    data = json.loads(path.read_text())
    data["points"][0]["parts"]["new"] = {"n": 0, "n_units": 0}
    path.write_text(json.dumps(data))
    parts = sections(write_report(tmp_path).read_text())
    assert "There are no eval items with new answers, so nothing is said about them." in parts[""]
    assert "New answers: none; all answers: above every negative control" in parts[""]


def test_an_absent_control_is_told_with_its_reason_in_the_card_the_panels_and_the_warnings(tmp_path):
    write_cell(tmp_path, absent={"shuffled_within": NO_RELATIONS})
    write_cell(tmp_path, layers=(2, 4), absent={"shuffled_within": NO_RELATIONS})
    parts = sections(write_report(tmp_path).read_text())
    assert f"No shuffled_within: {NO_RELATIONS}." in parts[""]
    assert f"no shuffled_within: {NO_RELATIONS}." in parts["leads"]
    assert f"no shuffled_within</b>: {NO_RELATIONS}" in parts["gates"]
    assert "Not scored" not in parts[""]
    for name in SECTIONS:
        assert ">shuffled_within<" not in parts[name], name


def test_that_a_table_is_not_beaten_is_said_plainly(tmp_path):
    for layer in (3, 4):
        write_cell(tmp_path, layers=(layer, 4), rates={"lookup": 0.75}, new_rates={"fitted": 0.02, "lookup": 0.0})
    parts = sections(write_report(tmp_path).read_text())
    baselines = "above lookup in 0, above bag_of_words in"
    assert f"New answers: above every negative control in 0 of 2 valid cells, {baselines} 0." in parts[""]
    sentence = f'<b class="">All answers: above every negative control in 2 of 2 valid cells, {baselines} 2.'
    assert sentence in parts[""]
    assert "On all items it is not above lookup" in parts[""]
    assert "above all<br>not above lookup" in parts["best"]
    assert "but not above lookup" in parts["scores"]


def test_records_of_an_older_version_are_refused(tmp_path):
    path = write_cell(tmp_path).folder / "record.json"
    path.write_text(path.read_text().replace('"record_version": 6', '"record_version": 2', 1))
    with pytest.raises(
        RecordError, match=r"^1 of 1 records in .* are of record version 2, this bridge reads 6; wanted "
    ):
        write_report(tmp_path)


def test_invalid_cells_are_marked_wherever_they_are_shown(page):
    parts = sections(page)
    assert parts["over-layer"].count("hollow: dead") == 3
    assert parts["over-n_fit"].count("hollow: dead") == 3
    assert parts["map"].count("red: dead") == 2
    sentence = "dead: the target&#x27;s own states, put in without a map, reach only 14% of its native score"
    for name in ("over-layer", "over-n_fit", "map", "leads", "answers", "scores"):
        assert sentence in parts[name].replace("Dead:", "dead:"), name
    assert parts["gates"].count('<td class="tight bad">FAILED 0.14 (0.8 to 1.25)</td>') == 4
    assert parts["gates"].count('<td class="tight">0.98 (0.8 to 1.25)</td>') == 4


def test_failed_cells_are_listed_with_their_error_and_a_folded_traceback(page):
    part = sections(page)["gates"]
    assert "layer 99 &lt;b&gt;is&lt;/b&gt; out of range" in part
    assert "<summary>traceback</summary><pre>Traceback\n  File &quot;run.py&quot; &amp; more</pre>" in part


def test_warnings_coverage_and_what_was_run_are_in_the_report(page):
    parts = sections(page)
    assert "n=60 fit rows are fewer than d=128 <span class=quiet>(2 cells)</span>" in parts["gates"]
    assert '<th scope="col">duplicate prompt</th>' in parts["gates"]
    assert ">46</td>" in parts["gates"]
    assert parts["run"].count("tiny: tiny-llama → tiny-mistral") == 9
    assert "bridge 0.1.0, torch 2.13.0" in parts["run"]
    for control in CONDITIONS.values():
        assert control.rules_out.replace("'", "&#x27;") in parts["run"]
    assert f"a bootstrap over units ({N_RESAMPLES} resamples)" in parts["run"]
    assert "20 draws cannot push it below 0.048" in parts["run"]
    assert "<b>Units</b> (answer)" in parts["run"]
    assert '<th scope="col">units</th>' in parts["gates"]
    assert re.search(r"<td>120</td><td>\d\d \(answer\)</td>", parts["gates"])


def test_the_page_is_well_formed_and_loads_nothing(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    anchors = {"#" + i for i in parser.ids}
    assert parser.loads
    assert set(parser.loads) <= anchors
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in re.sub(r"url\(#", "", page)


def test_the_same_records_give_the_same_bytes(tmp_path):
    write_cell(tmp_path)
    first = write_report(tmp_path, tmp_path / "one.html").read_bytes()
    assert write_report(tmp_path, tmp_path / "two.html").read_bytes() == first


def test_text_from_records_is_escaped(tmp_path):
    nasty = "<script>alert('x')</script>&"
    pair = {"name": nasty, "source": {"name": nasty}, "target": {"name": nasty}}
    for seed in (0, 1):
        write_cell(tmp_path, pair=pair, seed=seed, warnings=(nasty,), injection={"name": nasty})
    write_cell(tmp_path, pair={**pair, "name": "other"}, dataset__name=nasty, controls=("fitted",))
    write_failed(tmp_path, nasty, nasty, pair=pair, map__name=nasty)
    page = write_report(tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_missing_controls_are_named_in_the_head_the_panels_and_the_warnings(tmp_path):
    write_cell(tmp_path, controls=tuple(c for c in CONTROLS if c not in ("identity", "planted")))
    parts = sections(write_report(tmp_path).read_text())
    sentence = "Not scored in every cell: identity, planted."
    assert sentence in parts[""]
    for name in ("over-layer", "map", "leads", "answers"):
        assert sentence in parts[name], name
    assert "not scored: identity, planted</b>; control=all scores everything" in parts["gates"]
    assert "New answers: open: no score yet for identity" in parts[""]


def test_cells_fanned_out_over_controls_are_joined_before_they_are_shown(tmp_path):
    for control in CONTROLS:
        write_cell(tmp_path, controls=(control,))
    parts = sections(write_report(tmp_path).read_text())
    assert "1 cell finished" in parts[""]
    for control in RATES:
        assert f">{control}<" in parts[""]
    assert parts["run"].count("tiny: tiny-llama → tiny-mistral") == len(CONTROLS)
    assert "Not scored" not in parts[""]
    assert "New answers: above every negative control, and above lookup" in parts[""]


def test_a_fitted_score_without_negative_controls_is_not_shown_and_the_report_says_so(tmp_path):
    write_cell(tmp_path, controls=("fitted",), rates={"fitted": 0.4321})
    page = write_report(tmp_path).read_text()
    parts = sections(page)
    assert "Fitted score not shown, because no negative control was scored beside it" in parts[""]
    assert "its fitted score is not shown" in parts["gates"]
    assert not any(">fitted<" in parts[name] for name in ("", *SECTIONS))


def test_several_pairs_stand_under_their_own_names(tmp_path):
    write_cell(tmp_path)
    write_cell(tmp_path, pair={"name": "seeds", "source": {"name": "a"}, "target": {"name": "b"}}, layers=(2, 4))
    parts = sections(write_report(tmp_path).read_text())
    for name in ("", "over-layer", "map", "leads", "answers"):
        assert "<h3>tiny: tiny-llama → tiny-mistral</h3>" in parts[name]
        assert "<h3>seeds: a → b</h3>" in parts[name]


def test_cells_computed_on_other_weights_are_not_compared_silently(tmp_path):
    write_cell(tmp_path, layers=(3, 3))
    record = write_cell(tmp_path, layers=(4, 4))
    path = record.folder / "record.json"
    path.write_text(path.read_text().replace('"source": "weights"', '"source": "other weights"'))
    assert "computed on 2 different sets of weights or items" in sections(write_report(tmp_path).read_text())["gates"]


def test_only_failed_cells_still_give_a_report(tmp_path):
    write_failed(tmp_path, "no such model", "Traceback")
    page = write_report(tmp_path).read_text()
    assert "No cell was finished, so there is nothing to conclude." in page
    assert "no such model" in page


def test_no_records_is_an_error_of_one_line(tmp_path):
    with pytest.raises(RecordError) as error:
        write_report(tmp_path)
    assert str(error.value).startswith(f"no records under {tmp_path}/runs; wanted at least one: run bridge first")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "reports").exists()


def test_an_unwritable_target_is_an_error_of_one_line_and_leaves_nothing(tmp_path):
    write_cell(tmp_path)
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    (tmp_path / "folder.html").mkdir()
    for target in (tmp_path / "taken" / "report.html", tmp_path / "folder.html"):
        with pytest.raises(RecordError, match=r"^cannot write to .*; free some space or set") as error:
            write_report(tmp_path, target)
        assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.html", "runs", "taken"]


def test_no_two_pictures_of_a_page_share_a_name(page):
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    names = [set(re.findall(r' id="([^"]+)"', picture)) for picture in pictures]
    shared = [a & b for i, a in enumerate(names) for b in names[:i]]
    assert len(pictures) > 10
    assert not any(shared)


def test_curves_and_maps_show_new_answers_first(page):
    for name in ("over-layer", "over-n_fit"):
        part = sections(page)[name]
        assert 0 < part.index("top-1, new answers") < part.index("top-1, all answers") < part.index("gold log-prob")
    part = sections(page)["map"]
    assert 0 < part.index("new answers") < part.index("all answers")
    assert part.count("all answers") == part.count("new answers") == 3
    part = sections(page)["leads"]
    assert 0 < part.index("items with new answers") < part.index(f"all {N_ITEMS} items")


def test_where_all_answers_are_new_nothing_is_drawn_twice(tmp_path):
    for layer in (3, 4):
        write_cell(tmp_path, layers=(layer, 4), all_new=True)
    parts = sections(write_report(tmp_path).read_text())
    assert "all answers" not in parts["over-layer"] + parts["map"]
    assert parts["leads"].count("<figure") == 1
    assert "All answers: above" not in parts[""]


def test_a_report_that_would_be_the_same_is_not_drawn_again(tmp_path, monkeypatch):
    write_cell(tmp_path)
    first = write_report(tmp_path).read_bytes()
    monkeypatch.setattr("bridge.report.document.render", lambda *_: "drawn again")
    assert write_report(tmp_path).read_bytes() == first
    write_cell(tmp_path, rates={"fitted": 0.31})
    changed = write_report(tmp_path).read_bytes()
    assert changed.startswith(b"drawn again")
    monkeypatch.setattr("bridge.report.document.source_hash", lambda: "other code")
    assert write_report(tmp_path).read_bytes() != changed
    write_failed(tmp_path, "no room", "Traceback")
    path = write_report(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    assert write_report(tmp_path).read_bytes().endswith(b" -->\n")
