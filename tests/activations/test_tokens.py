"""States of every token: kept in shards, resumed, and read in any order without holding them all."""

from pathlib import Path

import pytest
import torch
from families import prompts, shared

from bridge.activations.extract import extract
from bridge.activations.store import Store
from bridge.activations.tokens import TokenStates, token_states
from bridge.errors import DataError
from bridge.maps.affine import Affine
from bridge.maps.stream import fit_stream

LM = shared("llama")
TEXTS = [tuple(row) for row in LM.encode(prompts(7, 3, 7, 9, 1, 12))]
LENGTHS = [len(text) for text in TEXTS]
LAYERS = [1, 3]


class Loader:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return LM


def states_of(tmp_path, loader=None, texts=TEXTS, shard_tokens=16) -> dict[int, TokenStates]:
    return token_states(Store(tmp_path), LM.fingerprint, loader or Loader(), texts, LAYERS, shard_tokens=shard_tokens)


def one_by_one(layer: int) -> torch.Tensor:
    return torch.cat([extract(LM, [text], [layer], f"last:{len(text)}")[layer][0] for text in TEXTS])


def test_every_token_of_every_text_is_there_with_its_place(tmp_path) -> None:
    states = states_of(tmp_path)
    assert sorted(states) == LAYERS
    for layer, some in states.items():
        assert len(some) == sum(LENGTHS)
        torch.testing.assert_close(some.rows(torch.arange(len(some))), one_by_one(layer), rtol=0.0, atol=1e-5)
        places = [(i, k) for i, length in enumerate(LENGTHS) for k in range(length)]
        assert list(zip(some.item.tolist(), some.position.tolist(), strict=True)) == places


def test_a_shard_holds_whole_texts_and_no_more_tokens_than_asked_for(tmp_path) -> None:
    for shard_tokens, n_shards in ((16, 4), (5, 6), (10**6, 1)):
        some = states_of(tmp_path / str(shard_tokens), shard_tokens=shard_tokens)[1]
        assert len(some.shards) == n_shards
        ends = torch.tensor(LENGTHS).cumsum(0).tolist()
        assert {int(end) for end in torch.tensor([len(s) for s in some.shards]).cumsum(0)} <= set(ends)
        assert all(len(shard) <= max(shard_tokens, max(LENGTHS)) for shard in some.shards)
        assert torch.equal(some.rows(torch.tensor([0, 30, 2])), torch.cat(some.shards)[[0, 30, 2]])


def test_shards_that_are_there_are_not_extracted_again(tmp_path, monkeypatch) -> None:
    asked: list[int] = []

    def counted(lm, texts, *arguments):
        if len(asked) == 2 and stops:
            raise KeyboardInterrupt
        asked.append(len(texts))
        return extract(lm, texts, *arguments)

    stops = True
    monkeypatch.setattr("bridge.activations.store.extract", counted)
    with pytest.raises(KeyboardInterrupt):
        states_of(tmp_path)
    stops = False
    states = states_of(tmp_path)
    assert len(asked) == len(states[1].shards) == 4
    torch.testing.assert_close(torch.cat(states[3].shards), one_by_one(3), rtol=0.0, atol=1e-5)
    loader = Loader()
    states_of(tmp_path, loader)
    assert loader.calls == 0


def test_batches_hold_every_token_once_in_a_seeded_order(tmp_path) -> None:
    some = states_of(tmp_path)[1]
    whole = torch.cat(some.shards)
    plain = list(some.batches(10))
    assert [len(batch.states) for batch in plain] == [10] * (len(some) // 10) + [len(some) % 10]
    assert torch.equal(torch.cat([batch.states for batch in plain]), whole)

    def shuffled(seed: int) -> list[tuple[int, int]]:
        places = []
        for batch in some.batches(10, torch.Generator().manual_seed(seed)):
            for state, item, position in zip(batch.states, batch.item.tolist(), batch.position.tolist(), strict=True):
                assert torch.equal(state, whole[sum(LENGTHS[:item]) + position])
                places.append((item, position))
        return places

    assert shuffled(0) == shuffled(0) != shuffled(1)
    in_order = list(zip(some.item.tolist(), some.position.tolist(), strict=True))
    assert sorted(shuffled(0)) == in_order != shuffled(0)


def test_states_lie_on_disk_until_they_are_asked_for(tmp_path) -> None:
    some = states_of(tmp_path)[1]
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line}
    assert len([path for path in mapped if "-layer1/" in path]) == len(some.shards) == 4


def test_a_map_is_fitted_on_a_stream_of_tokens_as_on_all_at_once(tmp_path) -> None:
    states = states_of(tmp_path)
    X, Y = (torch.cat(states[layer].shards) for layer in LAYERS)
    pairs = (states[layer].batches(7, torch.Generator().manual_seed(0)) for layer in LAYERS)
    streamed = fit_stream(Affine(), ((x.states, y.states) for x, y in zip(*pairs, strict=True)))
    torch.testing.assert_close(streamed.transform(X), Affine().fit(X, Y).transform(X), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("texts", "text"), [([], "no texts"), ([(1, 4), ()], "text 1 has no tokens")])
def test_a_text_without_tokens_is_refused(tmp_path, texts, text) -> None:
    with pytest.raises(DataError, match=f"^{text}; wanted texts of at least one token: leave that text out"):
        states_of(tmp_path, texts=texts)
