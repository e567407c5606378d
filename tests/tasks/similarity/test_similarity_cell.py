"""A cell of task=similarity: from its config to matrices, on the very states that the store holds."""

import json
from pathlib import Path

import pytest
import torch
from comparable import BASE, compared, composed, matrix
from planted import draw

from bridge.config import compose_config, without_effect
from bridge.data.facts import relations
from bridge.data.splitting import split
from bridge.errors import ConfigError
from bridge.records.record import Record
from bridge.run import run
from bridge.schema.similarity import SimilarityGatesConfig
from bridge.session import Session
from bridge.similarity.cka import linear_cka
from bridge.similarity.measures import DEFAULT_MEASURES, MEASURES
from bridge.similarity.shape import procrustes_similarity
from bridge.similarity.states import LayerStates
from bridge.tasks.similarity.layers import LayerSimilarity
from bridge.tasks.similarity.matrices import flat_scores, measures


def test_every_measure_is_a_matrix_of_layers_by_layers_with_two_nulls(bare_outputs: Path) -> None:
    record = compared(bare_outputs)
    data = record.data
    assert data["config"]["task"]["name"] == "similarity"
    assert data["layers"] == {"source": [0, 1, 2, 3, 4], "target": [0, 1, 2, 3, 4], "n_source": 4, "n_target": 4}
    assert measures(data) == list(DEFAULT_MEASURES)
    assert (data["n_rows"], data["n_permutations"]) == (60, 19)
    for measure in DEFAULT_MEASURES:
        for point in data["points"]:
            has = [name for name, scores in point["scores"].items() if measure in scores]
            assert has == ["observed", "shuffled", "shuffled_within"]
            assert (point["n"], point["n_units"], point["unit"], point["parts"]) == (60, 60, "row", {})
        value = matrix(record, measure, "value")
        assert value.shape == (5, 5)
        for null in ("shuffled", "shuffled_within"):
            p, corrected = (matrix(record, measure, "nulls", null, field) for field in ("p", "p_corrected"))
            assert ((p >= 0.05 - 1e-9) & (p <= 1.0)).all()
            assert (corrected >= 0.05 - 1e-9).all()
            mean, q95, calibrated = (
                matrix(record, measure, "nulls", null, field) for field in ("mean", "q95", "calibrated")
            )
            assert (mean <= q95 + 1e-9).float().mean() > 0.9
            there = ~calibrated.isnan()
            expected = (value - q95) / (1.0 - q95)
            torch.testing.assert_close(calibrated[there], expected[there], atol=1e-6, rtol=1e-4)
    angles = matrix(record, "procrustes", "angle_rad")
    torch.testing.assert_close(angles.cos(), matrix(record, "procrustes", "value"))
    assert data["valid"]
    assert data["gates"]["planted"]["value"] < 1e-9


def test_the_scores_are_those_of_the_fit_rows_at_these_layers(bare_outputs: Path) -> None:
    config = composed(bare_outputs, "task.measures=[cka_linear_debiased,procrustes]", "task.layers=[1,final]")
    session = Session(bare_outputs, "cpu", 64)
    record = run(config, session)
    assert record.data["layers"]["source"] == [1, 4]
    rosetta = session.rosetta(config)
    by = config.dataset.split
    fit = split(rosetta.items, by.by.value, 60, by.eval_fraction, by.eval_size, config.seed).fit
    prompts = [item.prompt for item in rosetta.items]
    X, Y = (session.states(m, prompts, n)[fit] for m, n in ((config.pair.source, 1), (config.pair.target, 4)))
    assert matrix(record, "cka_linear_debiased", "value")[0, 1] == pytest.approx(linear_cka(X, Y, debiased=True))
    assert matrix(record, "procrustes", "value")[0, 1] == pytest.approx(procrustes_similarity(X, Y))


def test_a_model_is_most_similar_to_itself_layer_by_layer(bare_outputs: Path) -> None:
    record = compared(bare_outputs, "pair.target=${pair.source}", "task.measures=[cka_linear,procrustes,rsa_pearson]")
    for measure in measures(record.data):
        torch.testing.assert_close(matrix(record, measure, "value").diagonal(), torch.ones(5, dtype=torch.float64))
        assert (matrix(record, measure, "nulls", "shuffled", "p_corrected").diagonal() <= 0.05 + 1e-9).all()


def test_the_same_config_gives_the_same_record_and_is_computed_once(bare_outputs: Path) -> None:
    words = ("task.measures=[mutual_knn,cka_linear]", "task.n_permutations=5")
    first = compared(bare_outputs, *words)
    assert compared(bare_outputs, *words).reused
    again = compared(bare_outputs, *words, "recompute=true")
    assert again.data["points"] == first.data["points"]
    assert compared(bare_outputs, *words, "seed=1").data["points"] != first.data["points"]


def test_source_and_target_layers_can_differ_and_fractions_count(bare_outputs: Path) -> None:
    words = ("task.source_layers=[0.5]", "task.target_layers=[0,1,-1,final]", "task.measures=[cka_linear]")
    record = compared(bare_outputs, *words, "task.n_permutations=2")
    assert (record.data["layers"]["source"], record.data["layers"]["target"]) == ([2], [0, 1, 4])
    assert matrix(record, "cka_linear", "value").shape == (1, 3)
    assert record.data["warnings"][-1] == (
        "with 2 permutations no p is below 0.33, and no calibrated score above 0; give task.n_permutations=19 at least"
    )


def test_all_measures_with_all_options_are_valid_and_say_what_all_layers_score(bare_outputs: Path) -> None:
    words = ("task.n_components=3", "task.bandwidth=5", "task.bandwidth_unit=absolute", "task.clip=0.95")
    record = compared(bare_outputs, f"task.measures=[{','.join(MEASURES)}]", "task.layers=[0,3,4]", *words)
    assert measures(record.data) == list(MEASURES)
    assert record.data["valid"]
    for measure in MEASURES:
        # Layer 0 is compared, and does not count.
        value, over = matrix(record, measure, "value")[1:, 1:], record.data["over_layers"][measure]
        assert over["max"]["value"] == pytest.approx(float(value.max()))
        assert over["mean"]["value"] == pytest.approx(float(value.mean()))
        assert set(over["max"]["nulls"]["shuffled_within"]) == {"mean", "low", "high", "q95", "p", "calibrated"}
    flat = flat_scores(record.data)
    over = record.data["over_layers"]["cka_linear"]["max"]["nulls"]["shuffled"]
    assert flat["calibrated_max/cka_linear"] == over["calibrated"]


def test_too_few_rows_for_canonical_correlations_are_said(bare_outputs: Path) -> None:
    words = ("task.measures=[pwcca]", "task.layers=[4]", "dataset.size=40", "task.n_permutations=19")
    record = compared(bare_outputs, *words)
    # 32 + 32 dimensions in the 39 that forty centered rows have.
    assert (
        "pwcca: 40 rows are too few in 1 of 1 pairs of layers, where up to 25 of 32 canonical correlations are 1 "
        "whatever the data; give more rows (dataset.size)"
    ) in record.data["warnings"]


def test_a_layer_without_any_variance_is_left_out_or_refused_by_name(bare_outputs: Path) -> None:
    # All prompts end in the same word, and layer 0 holds nothing else at the last position.
    lines = [
        json.dumps({"prompt": f"{subject} is a country in", "answer": answer, "relation": "continent"})
        for subject, answer in relations()["country_continent"].facts
    ]
    path = bare_outputs.parent / "countries.jsonl"
    path.write_text("\n".join(lines))
    words = ("dataset=json", f"dataset.path={path}", "task.measures=[cka_linear]", "task.n_permutations=19")

    def record(*more: str) -> Record:
        config = compose_config(*BASE, *words, *more, f"paths.outputs={bare_outputs}")
        return run(config, Session(bare_outputs, "cpu", 64))

    data = record().data
    assert data["layers"]["source"] == data["layers"]["target"] == [1, 2, 3, 4]
    assert data["valid"]
    why = "(at layer 0 the last position holds nothing but the embedding of the last token)"
    assert f"all rows of layer 0 of the source are the same, so it is left out {why}" in data["warnings"]
    with pytest.raises(
        ConfigError,
        match="all rows of layer 0 of the source are the same .*; wanted rows that differ: give other layers in",
    ):
        record("task.layers=[0,2]")
    # Over all positions the subject is in it.
    assert record("task.layers=[0,2]", "layer.position=mean").data["layers"]["source"] == [0, 2]


def test_a_layer_of_the_command_line_is_said_to_have_no_effect(bare_outputs: Path) -> None:
    words = ["layer=2", "layer.target=1", "layer.position=mean", "map=ridge", "dataset.size=60", "task.k=5"]
    message = without_effect(composed(bare_outputs, *words), words)
    rest = "it uses pair, layer.position, dataset"
    assert message == [
        f"layer=2 has no effect in task=similarity but by layer.position; {rest}",
        f"layer.target has no effect in task=similarity; {rest}",
        f"map has no effect in task=similarity; {rest}",
    ]
    assert without_effect(compose_config(), [word for word in words if "task" not in word]) == []


def test_rows_that_share_their_relation_alone_are_above_one_null_and_not_the_other() -> None:
    relation = torch.arange(60) % 4
    X, Y = (draw(4, 10, seed=s)[relation] + 0.3 * draw(60, 10, seed=s + 10) for s in (0, 1))
    task = LayerSimilarity(["cka_linear"], 99, 10, 1.0, 0.99, SimilarityGatesConfig())
    record = task.run({3: X}, {2: Y}, relation, seed=0, strict=True)
    (at,) = record.points
    assert at["contrasts"]["shuffled"]["cka_linear"]["p"] == 0.01
    assert at["contrasts"]["shuffled_within"]["cka_linear"]["p"] > 0.05
    assert at["axes"] == {"source_layer": 3, "target_layer": 2, "n_rows": 60}
    assert record.facts["layers"] == {"source": [3], "target": [2]}


def test_a_gate_that_fails_makes_the_record_invalid(bare_outputs: Path) -> None:
    record = compared(bare_outputs, "task.measures=[cka_linear]", "task.n_permutations=19", "task.gates.permuted=-1")
    assert not record.data["valid"]
    assert [gate["passed"] for gate in record.data["gates"].values()] == [True, False]


def test_a_null_without_room_says_nothing_about_the_permuted_gate(bare_outputs: Path) -> None:
    record = compared(bare_outputs, "task.measures=[pwcca]", "task.layers=[4]", "dataset.size=30")
    assert matrix(record, "pwcca", "nulls", "shuffled", "calibrated").isnan().tolist() == [[True]]
    assert record.data["gates"]["permuted"]["value"] == 0.0


def test_what_will_take_hours_is_said_before_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    task = LayerSimilarity(["pwcca", "cka_linear"], 10**9, 10, 1.0, 0.99, SimilarityGatesConfig())
    layers = [LayerStates(draw(150, 128))]
    task._announce(layers, layers)
    assert "pwcca take about 611.1 h on one core; leave them out of task.measures" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.measures=[cka]"], "unknown measure cka; wanted some of cka_linear, cka_linear_debiased, cka_rbf"),
        (["task.measures=[]"], "task.measures is empty; wanted some of cka_linear"),
        (
            ["task.k=60"],
            "task.k=60 is no number of neighbours among 60 rows; wanted at most 59: give task.k=6, or more rows",
        ),
        (["task.k=1"], "task.k=1 is out of range; wanted at least 2 for mutual_knn and cknna"),
        (["dataset.size=3"], "3 rows are too few to compare layers; wanted at least 4: change dataset.size"),
        (["task.layers=[7]"], "layer 7 is out of range for tiny-llama; wanted 0..4, as it has 4 blocks"),
        (["task.target_layers=[7]"], "layer 7 is out of range for tiny-mistral; wanted 0..4"),
        (
            ["task.layers=[]"],
            r"task.layers=\[\] is no choice of layers; wanted all or a list such as \[0,2,0.5,final\]",
        ),
        (["task.layers=some"], "layer 'some' is not a layer; wanted a number from 0 to 4"),
        (
            ["task.n_permutations=0"],
            "task.n_permutations=0 is out of range; wanted at least 1, as p is a rank among them",
        ),
        (["task.bandwidth=0"], "task.bandwidth=0.0 is out of range; wanted a positive number"),
        (["task.variance=1.5"], "task.variance=1.5 is out of range; wanted above 0 and at most 1"),
        (["task.bandwidth_unit=mean"], "task.bandwidth_unit=mean is out of range; wanted one of median, absolute"),
        (["task.n_components=0"], "task.n_components=0 is out of range; wanted at least 1, or null for task.variance"),
        (["task.penalty=0"], "task.penalty=0.0 is out of range; wanted a positive number"),
        (["task.clip=2"], "task.clip=2.0 is out of range; wanted above 0 and at most 1, or null"),
        (
            ["layer.position=aligned"],
            "layer.position=aligned gives no single row per item to compare; wanted last or mean",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(bare_outputs: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compared(bare_outputs, *words)
    assert "\n" not in str(caught.value)
