"""Orthogonal matrices from files, so that published rotations can be tested."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from bridge.errors import DataError
from bridge.statistics.haar import checked

Floats = NDArray[np.float64]
FORMATS = (".npy", ".safetensors", ".txt", ".csv")
# The largest entry of R'R - I; a matrix that was stored in float32 has about 1e-6, one in bfloat16 about 1e-2.
TOLERANCE = 1e-4
# Of the iteration that takes rounding away; from the tolerance it needs four at any width up to 10,000.
N_STEPS = 8


def orthogonal_matrix(path: str | Path, name: str | None = None, tolerance: float = TOLERANCE) -> Floats:
    """An orthogonal matrix in float64, made exactly orthogonal from what rounding left of it.

    Args:
        path: a file of numpy (.npy), of safetensors, or of text (.txt, .csv) with one row a line, numbers separated by
            blanks or commas.
        name: of the tensor in a safetensors file; it may be left out where there is one.
        tolerance: the largest entry of R'R - I that counts as rounding.

    Returns:
        (d, d), the orthogonal matrix nearest to the one in the file.

    Raises:
        DataError: there is no such file, or no square, finite, orthogonal matrix in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no file {path}; wanted a matrix in one of {', '.join(FORMATS)}: correct the path")
    if path.suffix not in FORMATS:
        raise DataError(f"{path} ends in '{path.suffix}'; wanted one of {', '.join(FORMATS)}: convert the file")
    try:
        R = _read(path, name)
    except (OSError, ValueError, EOFError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read as a matrix ({' '.join(str(error).split())[:200]}); wanted one of numbers: write "
            "the file again"
        ) from error
    try:
        R = checked(R, tolerance)
    except ValueError as error:
        got, _, wanted = str(error).partition(": ")[0].partition("; wanted ")
        raise DataError(f"{path} holds no rotation ({got}); wanted {wanted}: give an orthogonal matrix") from error
    return _nearest(R)


def _nearest(R: Floats) -> Floats:
    """The orthogonal matrix nearest to one that is nearly so: steps of Newton and Schulz, each of which squares what is
    missing. At d = 4096 they take a tenth of the time of a singular value decomposition."""
    for _ in range(N_STEPS):
        error = R.T @ R - np.eye(len(R))
        if np.abs(error).max() < 1e-14:
            break
        R = R - R @ error / 2
    return R


def _read(path: Path, name: str | None) -> Floats:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    if path.suffix in (".txt", ".csv"):
        lines = [line.replace(",", " ").split() for line in path.read_text().splitlines() if line.strip()]
        return np.array([[float(number) for number in line] for line in lines], dtype=np.float64)
    with safe_open(path, "pt") as tensors:
        names = list(tensors.keys())
        wanted = names[0] if name is None and len(names) == 1 else name
        if wanted not in names:
            raise DataError(
                f"{path} holds {', '.join(names) or 'no tensor'}; wanted the name of one of them, got {name}: give it"
            )
        return np.asarray(tensors.get_tensor(wanted).double().numpy())
