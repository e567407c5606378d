import pytest
import torch

from bridge.similarity import pairs
from bridge.similarity.pairs import PairProducts


def test_pairs_in_several_chunks_are_those_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    A, B = (torch.randn(3, 9, 9, dtype=torch.float64, generator=generator) for _ in range(2))
    A, B = A + A.mT, B + B.mT
    permutation = torch.randperm(9, generator=generator)
    i, j = torch.triu_indices(9, 9, 1)
    wanted = torch.stack([torch.stack([(a[i, j] * b[permutation[i], permutation[j]]).sum() for b in B]) for a in A])
    for chunk in (7, 2**18):
        monkeypatch.setattr(pairs, "CHUNK", chunk)
        torch.testing.assert_close(PairProducts(list(A), list(B))(permutation), wanted)
