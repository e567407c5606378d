import dataclasses
from pathlib import Path
from typing import Any

import pytest
from synthetic_doses import DOSES, install, point_of, write_points
from synthetic_doses import TASK as DOSE_TASK
from synthetic_records import TASK, write_cell
from wandb_files import WANDB

from bridge.controls.names import CONTROLS
from bridge.errors import ConfigError
from bridge.results.points import result_of
from bridge.tasks.registry import get
from bridge.tracking import ledger as ledger_module
from bridge.tracking.curves import Curve, Row, axis_name, lead_row, means
from bridge.tracking.ledger import Ledger
from bridge.tracking.plan import Plan, axis_of


def plan(*axes: str, **tracker: Any) -> Plan:
    return Plan("s", WANDB | tracker, axes)


def rows(outputs: Path, how: Plan, words: tuple[str, ...] = (), **cell: Any) -> dict[str, tuple[Curve, Row]]:
    made = write_cell(outputs, **cell)
    return {curve.control: (curve, row) for curve, row in how.rows(made.data["config"], words, made.data)}


def test_a_record_is_one_row_for_each_of_its_controls_and_references(outputs: Path) -> None:
    made = write_cell(outputs, layers=(2, 3))
    found = rows(outputs, plan(), layers=(2, 3))
    (point,) = made.data["points"]
    assert found.keys() == point["scores"].keys()
    for control, (curve, row) in found.items():
        score = point["scores"][control]["logprob_nats"]
        assert (row.x, row.kind, curve.x) == (2.0, "scores", "layer")
        assert row.values["logprob_nats"] == score["mean"]
        assert (row.values["logprob_nats_low"], row.values["logprob_nats_high"]) == (score["low"], score["high"])
        assert ("explained_variance" in row.values) == (control in CONTROLS)
        new = point["parts"]["new"]["scores"][control]["top1"]
        assert [row.values[f"new/top1{end}"] for end in ("", "_low", "_high")] == [
            new[k] for k in ("mean", "low", "high")
        ]
        assert ("lead/top1" in row.values) == (control != "fitted")
    lead = point["contrasts"]["mean"]["mrr"]
    assert found["mean"][1].values["lead/mrr"] == lead["difference"]
    assert found["mean"][1].values["lead/mrr_low"] == lead["low"]
    of_new = point["parts"]["new"]["contrasts"]["mean"]["top1"]
    ends = ("", "_low", "_high")
    assert [found["mean"][1].values[f"lead/new/top1{end}"] for end in ends] == [
        of_new[k] for k in ("difference", "low", "high")
    ]


def layers_by_layers() -> dict[str, Any]:
    """record.json of a task with two axes inside one record."""
    config = {"task": {"name": "similarity"}, "pair": {"name": "tiny"}, "dataset": {"name": "facts", "size": 60},
              "control": {"names": []}, "seed": 0}  # fmt: skip
    points = [
        {
            "axes": {"source_layer": i, "target_layer": j, "n_rows": 60},
            "scores": {
                "observed": {"cka_linear": {"mean": 0.1 * i + j, "low": None, "high": None}},
                "shuffled": {"cka_linear": {"mean": 0.0, "low": -0.1, "high": 0.1}},
            },
            "contrasts": {"shuffled": {"cka_linear": {"difference": 0.1 * i + j, "low": None, "high": None}}},
            "parts": {},
        }
        for i in (1, 2, 3)
        for j in (1, 2)
    ]
    return {"run_id": "r", "config": config, "valid": True, "points": points, "gates": {}}


def test_the_points_of_a_record_lie_on_its_curves_with_the_other_axes_fixed() -> None:
    data = layers_by_layers()
    found = plan(x="source_layer").rows(data["config"], ("seed=0",), data)
    by_curve: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    for curve, row in found:
        assert (curve.x, row.source) == ("source_layer", "r")
        by_curve.setdefault((curve.name, curve.id), {})[row.x] = row.values
    assert sorted(name for name, _ in by_curve) == [
        f"{condition}, seed=0, target_layer={j}" for condition in ("observed", "shuffled") for j in (1, 2)
    ]
    for (name, _), rows_of in by_curve.items():
        j = float(name[-1])
        wanted = {"valid": 1.0}
        for i in (1.0, 2.0, 3.0):
            if name.startswith("observed"):
                assert rows_of[i] == wanted | {"cka_linear": pytest.approx(0.1 * i + j)}
            else:
                scores = {"cka_linear": 0.0, "cka_linear_low": -0.1, "cka_linear_high": 0.1}
                assert rows_of[i] == wanted | scores | {"lead/cka_linear": pytest.approx(0.1 * i + j)}
    names = {curve.base: curve.tags for curve, _ in found}
    assert set(names.values()) == {("pair:tiny", "seed:0", f"target_layer:{j}") for j in (1, 2)}


def test_a_place_that_is_in_no_config_tells_curves_apart_though_its_record_has_one_point(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, DOSE_TASK)
    curves = []
    for dose in DOSES:
        points = result_of([point_of(dose)], ["native"], [{}]).points
        data = write_points(outputs, DOSE_TASK, points).data
        ((curve, row),) = plan(x="n").rows(data["config"], (), data)
        assert (curve.name, row.x) == (f"native, dose={dose}", 40.0)
        curves.append(curve.id)
    assert len(set(curves)) == len(DOSES)


def test_a_config_key_as_axis_leaves_each_point_on_a_curve_of_its_own() -> None:
    data = layers_by_layers()
    found = plan(x="seed").rows(data["config"], (), data)
    assert {row.x for _, row in found} == {0.0}
    assert len({curve.id for curve, _ in found}) == len(found) == 12


def test_a_task_without_the_axis_takes_its_own_and_a_matrix_is_one_run_unless_asked() -> None:
    data = layers_by_layers()
    task = get("similarity")
    for x in (None, "layer"):
        axis = axis_of(task, x, data["config"])
        assert axis is not None
        assert axis.name == "source_layer"
        plan(x=x).check(data["config"])
    assert task.searched is not None
    ((curve, row),) = plan(run_per="cell", x="source_layer").rows(data["config"], ("seed=0",), {**data, "points": []})
    assert (curve.x, curve.control) == (None, "cell")
    assert row.values == {"valid": 1.0}


@pytest.mark.parametrize("x", [None, "layer"])
def test_translate_runs_along_layers_by_itself(outputs: Path, x: str | None) -> None:
    curve, row = rows(outputs, plan(x=x), layers=(2, 3))["mean"]
    assert (curve.x, row.x, curve.id) == ("layer", 2.0, rows(outputs, plan(), layers=(1, 3))["mean"][0].id)


def test_an_axis_of_the_task_may_be_named_in_place_of_its_config_key(outputs: Path) -> None:
    curve, row = rows(outputs, plan(x="n_fit"), n=200)["mean"]
    assert (curve.x, row.x, "size" in curve.config["dataset"]) == ("n_fit", 200.0, False)


def test_what_the_curve_runs_along_does_not_tell_curves_apart_and_all_else_does(outputs: Path) -> None:
    def ids(how: Plan, **cell: Any) -> set[str]:
        return {curve.id for curve, _ in rows(outputs, how, **cell).values()}

    here = ids(plan())
    assert ids(plan(), layers=(1, 1)) == here
    assert ids(plan(), n=200).isdisjoint(here)
    assert ids(plan(), seed=1).isdisjoint(here)
    assert ids(plan(project="another")).isdisjoint(here)
    along = ids(plan(x="dataset.size"))
    assert ids(plan(x="dataset.size"), n=200) == along
    assert ids(plan(x="dataset.size"), layers=(1, 1)).isdisjoint(along)
    # which controls a cell scored does not matter, nor where it was run
    assert ids(plan(), controls=("mean",), tracker__name="none") < here


def test_a_target_layer_that_is_swept_by_itself_is_fixed_along_a_curve(outputs: Path) -> None:
    for axes, same in ((("layer",), True), (("layer.source", "layer.target"), False)):
        one, other = (rows(outputs, plan(*axes), layer__target=t)["mean"][0] for t in (1, 2))
        assert (one.id == other.id) is same


@pytest.mark.parametrize(
    ("x", "cell", "place"),
    [
        ("dataset.size", {"n": 400}, 400.0),
        ("seed", {"seed": 3}, 3.0),
        ("pair.source.revision", {"pair__source": {"name": "pythia", "revision": "step3000"}}, 3000.0),
    ],
)
def test_any_key_whose_value_is_or_holds_a_number_is_an_axis(outputs: Path, x: str, cell: Any, place: float) -> None:
    curve, row = rows(outputs, plan(x=x), **cell)["fitted"]
    assert (row.x, curve.x) == (place, axis_name(x))
    assert "." not in str(curve.x)


@pytest.mark.parametrize(("axes", "is_sent"), [((), False), (("control",), True), (("layer", "control.names"), True)])
def test_an_estimate_alone_is_sent_only_where_controls_come_with_other_cells(
    outputs: Path, axes: tuple[str, ...], is_sent: bool
) -> None:
    sent = rows(outputs, plan(*axes), controls=("fitted",))
    assert "native_target" in sent
    assert ("fitted" in sent) is is_sent


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("map.name", "is 'orthogonal', which holds no number"),
        ("dataset", "is a group (name, size, unit, ...), which holds no number"),
        ("dataset.sise", "is not in the config"),
    ],
)
def test_an_axis_without_a_number_is_refused(outputs: Path, x: str, said: str) -> None:
    config = write_cell(outputs).data["config"]
    with pytest.raises(ConfigError) as error:
        plan(x=x).check(config)
    assert str(error.value) == (
        f"tracker.x={x} {said}; wanted a key whose value is or holds a number: give layer, dataset.size, seed, or "
        "another one"
    )


def test_names_and_tags_say_what_is_fixed_and_not_what_is_on_the_axis(outputs: Path) -> None:
    words = ("layer=4", "injection=lm_head", "dataset.size=100", "control=fitted")
    curve, _ = rows(outputs, plan("layer", "dataset.size"), words)["fitted"]
    assert curve.name == "fitted, injection=lm_head, dataset.size=100"
    assert curve.tags == ("pair:tiny", "injection:lm_head", "dataset.size:100")
    assert rows(outputs, plan(group="mine"))["fitted"][0].group == "mine"


def test_the_ledger_keeps_the_order_of_arrival_and_survives(outputs: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for layer in (3, 1, 2):
        ledger.add(rows(outputs, plan(), layers=(layer, layer)).values())
        ledger.save()
    again = Ledger(tmp_path / "ledger")
    for entry in again.entries.values():
        assert [row.x for row in entry.rows] == [3.0, 1.0, 2.0]
        assert entry == ledger.entries[entry.curve.id]


def test_another_cell_at_the_same_place_is_no_further_row(outputs: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    curve, row = rows(outputs, plan())["mean"]
    other = dataclasses.replace(row, source="another", values={"top1": 0.5})
    ledger.add([(curve, row), (curve, other), (curve, row)])
    assert ledger.entries[curve.id].rows == [row]
    changed = dataclasses.replace(row, values={"top1": 0.5})
    ledger.add([(curve, changed)])
    assert ledger.entries[curve.id].rows == [row, changed]


def test_a_cell_whose_gates_failed_is_a_row_that_says_so(outputs: Path) -> None:
    found = rows(outputs, plan(), failed_gate="planted")
    assert {row.values["valid"] for _, row in found.values()} == {0.0}


def test_the_last_number_of_a_text_is_the_place(outputs: Path) -> None:
    source = {"name": "pythia-70m-step3000"}
    _, row = rows(outputs, plan(x="pair.source.name"), pair__source=source)["fitted"]
    assert row.x == 3000.0


def test_a_lead_is_fitted_minus_control() -> None:
    control, fitted = Row("scores", 2.0, "c", {"top1": 0.2}), Row("scores", 2.0, "f", {"top1": 0.7, "mrr": 0.8})
    assert lead_row(TASK, control, fitted) == Row("lead", 2.0, "f-c", {"lead/top1": pytest.approx(0.5)})  # type: ignore[dict-item]
    control.values["new/top1"], fitted.values["new/top1"] = 0.1, 0.4
    assert lead_row(TASK, control, fitted).values["lead/new/top1"] == pytest.approx(0.3)


def test_every_place_of_a_curve_counts_once_in_its_mean() -> None:
    of_curve = {x: Row("scores", x, f"cell {x}", {"top1": x}) for x in (0.2, 0.4)}
    assert dict(means(TASK, of_curve)) == {"mean/top1": pytest.approx(0.3)}


def test_a_cell_that_scored_both_gets_no_second_lead(outputs: Path, tmp_path: Path) -> None:
    together, apart = Ledger(tmp_path / "together"), Ledger(tmp_path / "apart")
    together.add(rows(outputs, plan(), controls=("fitted", "mean")).values())
    for control in ("fitted", "mean"):
        apart.add([rows(outputs, plan("control"), controls=(control,))[control]])
    kinds = [[row.kind for e in some.entries.values() for row in e.rows] for some in (together, apart)]
    assert "lead" not in kinds[0]
    assert kinds[1].count("lead") == 1


def test_a_result_that_went_back_is_a_further_row(outputs: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    curve, row = rows(outputs, plan())["mean"]
    changed = dataclasses.replace(row, values={"top1": 0.5})
    for found in (row, changed, row):
        ledger.add([(curve, found)])
    assert ledger.entries[curve.id].rows == [row, changed, row]


def test_what_has_arrived_is_noted_on_disk(outputs: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(rows(outputs, plan()).values())
    ledger.save()
    entry = next(iter(ledger.entries.values()))
    ledger.mark(entry, "offline", 1)
    ledger.save()
    assert Ledger(tmp_path / "ledger").entries[entry.curve.id].sent == {"offline": 1}


def test_a_ledger_that_has_not_changed_is_not_written(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr(ledger_module, "write_whole", lambda path, content: written.append(path))
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(rows(outputs, plan()).values())
    ledger.save()
    n_files = len(written)
    assert n_files == len(ledger.entries) + 1
    ledger.save()
    assert len(written) == n_files
