"""Cells stand in an order in which models and states stay in memory, and are dealt to jobs by pair."""

import itertools
from functools import cache
from pathlib import Path

from bridge.config import compose_config, to_plain
from bridge.records.manifest import Cell, Manifest
from bridge.sweep.grid import make
from bridge.sweep.order import ordered, shares, turns

PAIRS, LAYERS, CONTROLS = ("tiny", "tiny_same"), (10, 2, 4), ("random", "fitted", "mean")


@cache
def grid(pairs: tuple[str, ...] = PAIRS) -> Manifest:
    combinations = list(itertools.product(CONTROLS, LAYERS, pairs))
    words = [(f"control={c}", f"layer={n}", f"pair={p}") for c, n, p in combinations]
    configs = [to_plain(compose_config(*w)) for w in words]
    axes = {"control": list(CONTROLS), "layer": [str(n) for n in LAYERS], "pair": list(pairs)}
    return make("x", Path("outputs"), words, configs, axes)


def places(manifest: Manifest, cells: list[Cell]) -> list[tuple[str, int, str]]:
    configs = [manifest.config(cell) for cell in cells]
    return [(c["pair"]["name"], c["layer"]["source"], c["control"]["names"][0]) for c in configs]


def test_a_pair_is_finished_before_the_next_and_controls_stand_together() -> None:
    manifest = grid()
    found = places(manifest, ordered(manifest, manifest.run_ids))
    assert found == [(p, n, c) for p in PAIRS for n in (2, 4, 10) for c in ("fitted", "random", "mean")]


def test_with_as_many_jobs_as_pairs_each_job_has_one_pair() -> None:
    manifest = grid()
    dealt = [{p for p, _, _ in places(manifest, share)} for share in shares(manifest, manifest.run_ids, 2)]
    assert sorted(map(sorted, dealt)) == [["tiny"], ["tiny_same"]]
    assert len(shares(manifest, manifest.run_ids, 1)) == 1


def test_with_more_jobs_a_pair_is_cut_between_its_settings() -> None:
    manifest = grid()
    dealt = shares(manifest, manifest.run_ids, 4)
    assert sorted(len(share) for share in dealt) == [3, 3, 6, 6]
    assert sorted(c.run_id for share in dealt for c in share) == sorted(manifest.run_ids)
    for share in dealt:
        found = places(manifest, share)
        assert len({p for p, _, _ in found}) == 1
        assert [c for _, _, c in found] == ["fitted", "random", "mean"] * (len(found) // 3)


def test_there_are_never_more_jobs_than_settings() -> None:
    manifest = grid(("tiny",))
    assert [len(share) for share in shares(manifest, manifest.run_ids, 50)] == [3, 3, 3]
    assert len(shares(manifest, manifest.run_ids[:1], 8)) == 1


def test_a_job_takes_its_own_cells_first_and_then_those_of_the_others_from_their_ends() -> None:
    manifest = grid()
    dealt = shares(manifest, manifest.run_ids, 3)
    for own in range(3):
        taken = turns(dealt, own)
        assert taken[: len(dealt[own])] == dealt[own]
        assert taken[len(dealt[own])] == dealt[(own + 1) % 3][-1]
        assert sorted(c.run_id for c in taken) == sorted(manifest.run_ids)
