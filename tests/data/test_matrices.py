"""Orthogonal matrices from files of three kinds, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from bridge.data.matrices import orthogonal_matrix
from bridge.errors import DataError
from bridge.statistics.haar import haar_draw

Matrix = NDArray[np.float64]
R = haar_draw(12, np.random.default_rng(0))


def npy(path: Path, matrix: Matrix) -> Path:
    np.save(path / "R.npy", matrix)
    return path / "R.npy"


def safetensors(path: Path, matrix: Matrix) -> Path:
    save_file({"R": torch.tensor(matrix)}, path / "R.safetensors")
    return path / "R.safetensors"


def text(path: Path, matrix: Matrix) -> Path:
    np.savetxt(path / "R.txt", matrix)
    return path / "R.txt"


def csv(path: Path, matrix: Matrix) -> Path:
    np.savetxt(path / "R.csv", matrix, delimiter=",")
    return path / "R.csv"


WRITERS = [npy, safetensors, text, csv]


@pytest.mark.parametrize("write", WRITERS)
def test_a_matrix_is_read_back(write: Callable[[Path, Matrix], Path], tmp_path: Path) -> None:
    np.testing.assert_allclose(orthogonal_matrix(write(tmp_path, R)), R, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_is_undone_as_far_as_orthogonality_tells(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2), "R": torch.tensor(R).to(dtype)}, tmp_path / "two.safetensors")
    tolerance = 1e-4 if dtype is torch.float32 else 0.05
    read = orthogonal_matrix(tmp_path / "two.safetensors", "R", tolerance)
    np.testing.assert_allclose(read.T @ read, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(read, R, atol=1e-6 if dtype is torch.float32 else 0.02)
    with pytest.raises(DataError, match="holds R, other; wanted the name of one of them, got None"):
        orthogonal_matrix(tmp_path / "two.safetensors")


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (2 * R, r"differs from I by up to 3\); wanted at most 0.0001"),
        (R[:4], r"shape \(4, 12\)\); wanted a square one"),
        (np.where(np.eye(12) > 0, np.nan, R), "not finite"),
        (np.ones((1, 1)), r"shape \(1, 1\)"),
    ],
)
def test_what_is_no_rotation_is_refused(
    write: Callable[[Path, Matrix], Path], matrix: Matrix, says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        orthogonal_matrix(write(tmp_path, matrix))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", b"no numpy"),
        ("a.safetensors", b"no tensors"),
        ("a.txt", b"1 2\n3"),
        ("a.csv", b"one,two\n1,2"),
        ("a.txt", b""),
        ("a.npy", b""),
    ],
)
def test_a_file_of_something_else_is_refused_by_its_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} cannot be read as a matrix|{name} holds no rotation"):
        orthogonal_matrix(tmp_path / name)


def test_no_file_and_no_known_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        orthogonal_matrix(tmp_path / "none.npy")
    (tmp_path / "R.pickle").write_bytes(b"")
    with pytest.raises(DataError, match="ends in '.pickle'; wanted one of .npy"):
        orthogonal_matrix(tmp_path / "R.pickle")
