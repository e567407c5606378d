"""``bridge haar``: whether orthogonal matrices from files look like Haar draws, and what the test would notice."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

DESCRIPTION = """Test whether orthogonal matrices look like Haar draws: draws from the uniform distribution over all
rotations and reflections."""
# The least p is one over the number of draws plus one.
LEAST_DRAWS = 19
# Matrices of each kind that the power is measured on.
N_TESTS = 40
# Haar draws whose distance to a signed permutation is measured, and the width up to which they are drawn: at 4096 a
# draw takes a minute.
N_BESIDE, BESIDE_AT_MOST = 3, 1024
# Up to this width the nearest signed permutation is looked for, which takes 7 s there.
PERMUTATION_AT_MOST = 4096
LEGEND = """||R - I||: the Frobenius norm; for Haar draws it has mean sqrt(2d) and standard deviation 1/sqrt(2d), as
stands beside it. Haar p: all statistics together, each compared with Haar draws of the same determinant. least: the
smallest p of one statistic alone, not corrected for the choice. plain KS p: takes the angles for independent, and
rejects next to nothing. to perm: the distance to the nearest signed permutation (up to d = {far}), beside the mean of
{n} Haar draws (up to d = {most})."""
POWER_LEGEND = """Share of {n} matrices of each kind that the test of all statistics rejects at 5 %, and that the plain
Kolmogorov-Smirnov test does. A kind that is not rejected cannot be told from a Haar draw by this test."""


def haar_verb(arguments: Sequence[str]) -> int:
    """``bridge haar FILE [FILE ...]``: one line a matrix; with ``--power`` how often each alternative is rejected.

    Raises:
        ConfigError: nothing to test, or too few draws.
        DataError: a file holds no orthogonal matrix.
    """
    parser = argparse.ArgumentParser("bridge haar", description=DESCRIPTION)
    parser.add_argument("files", nargs="*", metavar="FILE", help="a matrix (.npy, .safetensors, .txt, .csv)")
    parser.add_argument("--name", metavar="TENSOR", help="the name of the tensor in files of safetensors")
    parser.add_argument("--draws", type=int, default=199, metavar="N", help="Haar draws of each test (default: 199)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all draws (default: 0)")
    parser.add_argument("--power", nargs="?", const="", metavar="WIDTH",
                        help="also measure what is rejected, at this width or that of the first file")  # fmt: skip
    chosen = parser.parse_args(list(arguments))
    files, width = list(chosen.files), chosen.power
    if width and not width.isdigit():
        # Of `--power FILE` the file is the word that follows.
        files.append(width)
        width = ""
    if chosen.draws < LEAST_DRAWS:
        raise ConfigError(f"--draws {chosen.draws} is too few; wanted at least {LEAST_DRAWS}: raise it")
    if chosen.seed < 0:
        raise ConfigError(f"--seed {chosen.seed} is negative; wanted 0 or more: change it")
    if not files and not width:
        raise ConfigError("no file to test; wanted a matrix, or --power with a width: give one, such as R.npy")
    if width and int(width) < 4:
        raise ConfigError(f"--power {width} is too narrow; wanted a width of 4 or more: raise it")
    from rich.console import Console

    from bridge.data.matrices import orthogonal_matrix

    console = Console(width=80)
    matrices = [orthogonal_matrix(path, chosen.name) for path in files]
    if matrices:
        _print_matrices(files, matrices, chosen.draws, chosen.seed, console)
    if width is not None:
        _print_power(int(width) if width else len(matrices[0]), chosen.draws, chosen.seed, console)
    return 0


def _print_matrices(
    files: Sequence[str], matrices: "Sequence[NDArray[np.float64]]", n_draws: int, seed: int, console: "Console"
) -> None:
    import numpy as np
    from tqdm import tqdm

    from bridge.statistics.haar import haar_draw, haar_test, plain_ks, to_signed_permutation

    right = ("d", "det", "||R - I||", "Haar\ndraws", "Haar\np", "least", "plain\nKS p", "to\nperm", "Haar\ndraws")
    table = _table(("file",), right)
    beside: dict[int, str] = {}
    for path, R in tqdm(list(zip(files, matrices, strict=True)), desc="matrices", leave=False, disable=None):
        d, rng = len(R), np.random.default_rng([seed, 7])
        if d not in beside:
            draws = [to_signed_permutation(haar_draw(d, rng)) for _ in range(N_BESIDE)] if d <= BESIDE_AT_MOST else []
            beside[d] = f"{np.mean(draws):.2f}" if draws else "-"
        test = haar_test(R, n_draws, np.random.default_rng([seed, 7]))
        single = {name: p for name, p in test.p.items() if name != "all"}
        least = min(single, key=lambda name: single[name])
        table.add_row(
            Path(path).name, str(d), f"{test.determinant:+d}", f"{test.statistics['distance']:.2f}",
            f"{(2 * d) ** 0.5:.2f}±{(2 * d) ** -0.5:.2f}", f"{test.p['all']:.3f}", f"{single[least]:.3f}\n{least}",
            f"{plain_ks(R):.3f}", f"{to_signed_permutation(R):.2f}" if d <= PERMUTATION_AT_MOST else "-", beside[d],
        )  # fmt: skip
    console.print(table)
    _print_dim(LEGEND.format(n=N_BESIDE, most=BESIDE_AT_MOST, far=PERMUTATION_AT_MOST), console)


def _print_power(d: int, n_draws: int, seed: int, console: "Console") -> None:
    import numpy as np
    from tqdm import tqdm

    from bridge.statistics.haar import haar_draw
    from bridge.statistics.haar_power import ALTERNATIVES, power

    table = _table((f"kind of matrix, d = {d}",), ("calibrated", "plain KS"))
    kinds = {"Haar draw": haar_draw, **ALTERNATIVES}
    with tqdm(total=N_TESTS * len(kinds), desc="power", unit="test", delay=2.0, leave=False, disable=None) as bar:
        for number, (kind, draw) in enumerate(kinds.items()):
            rng, rates = np.random.default_rng([seed, 8, number]), []
            for _ in range(N_TESTS):
                rates.append(power(draw, d, 1, n_draws, rng).rates)
                bar.update()
            table.add_row(kind, *(f"{np.mean([rate[test] for rate in rates]):.0%}" for test in ("all", "plain")))
    console.print(table)
    _print_dim(POWER_LEGEND.format(n=N_TESTS), console)


def _table(left: Sequence[str], right: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in left:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _print_dim(text: str, console: "Console") -> None:
    console.print(" ".join(text.split()), style="dim", highlight=False)
