"""A decomposition that goes on where torch's does not converge."""

import pytest
import torch
from torch import Tensor

from bridge.maps.orthogonal import Orthogonal
from bridge.svd import svd

G = torch.Generator().manual_seed(0)


def fails(*_: object, **__: object) -> None:
    raise torch.linalg.LinAlgError("the algorithm failed to converge")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (3, 5, 5)])
@pytest.mark.parametrize("full_matrices", [False, True])
def test_another_driver_gives_the_same_decomposition(
    shape: tuple[int, ...], full_matrices: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    M = torch.randn(shape, generator=G, dtype=dtype)
    expected = torch.linalg.svd(M, full_matrices=full_matrices)
    monkeypatch.setattr("torch.linalg.svd", fails)
    U, s, Vh = svd(M, full_matrices)
    assert (U.shape, s.shape, Vh.shape) == tuple(part.shape for part in expected)
    assert U.dtype == s.dtype == Vh.dtype == dtype
    torch.testing.assert_close(s, expected[1])
    k = s.shape[-1]
    torch.testing.assert_close(U[..., :k] @ (s[..., None] * Vh[..., :k, :]), M)
    for part in (U.mT @ U, Vh @ Vh.mT):
        torch.testing.assert_close(part, torch.eye(part.shape[-1], dtype=dtype).expand_as(part))


def test_what_is_not_finite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.linalg.svd", fails)
    with pytest.raises(torch.linalg.LinAlgError, match="failed to converge"):
        svd(torch.full((2, 2), torch.nan))


def test_a_rotation_and_its_permuted_fits_survive_a_decomposition_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(n: int) -> Tensor:
        return torch.randn(n, 24, generator=G, dtype=torch.float64)

    X, Y, X_new = rows(10), rows(10), rows(5)
    orders = torch.stack([torch.randperm(10, generator=G) for _ in range(3)])
    expected = Orthogonal().transform_permuted(X, Y, orders, X_new)
    monkeypatch.setattr("torch.linalg.svd", fails)
    torch.testing.assert_close(Orthogonal().transform_permuted(X, Y, orders, X_new), expected)
