"""``bridge haar``: a line for each matrix, and how often each alternative is noticed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import rotation
from safetensors.torch import save_file

import bridge.shell.haar
from bridge.cli import main
from bridge.statistics.haar_power import ALTERNATIVES

D = 24


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a Haar draw and a signed permutation."""
    monkeypatch.chdir(tmp_path)
    np.save("haar.npy", rotation(D, 3).numpy())
    np.savetxt("swap.txt", -np.eye(D)[::-1])
    save_file({"one": rotation(D, 3).float().contiguous(), "two": torch.eye(D)}, "both.safetensors")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["haar", *words])
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


def rows(out: str) -> dict[str, list[str]]:
    """File -> its other columns."""
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if re.match(r"\S+\.\w+ +\d+ ", line)}


@pytest.mark.usefixtures("files")
def test_each_matrix_has_a_line_and_structure_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, "haar.npy", "swap.txt", "both.safetensors", "--name", "one", "--draws", "59")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    found = rows(out)
    assert list(found) == ["haar.npy", "swap.txt", "both.safetensors"]
    R = rotation(D, 3)
    distance = float((R - torch.eye(D)).norm())
    assert found["haar.npy"][:3] == [str(D), f"{round(float(torch.linalg.det(R))):+d}", f"{distance:.2f}"]
    # What single precision took away is put back.
    assert found["haar.npy"] == found["both.safetensors"]
    assert {line[3] for line in found.values()} == {"6.93±0.14"}
    assert float(found["haar.npy"][4]) > 0.05
    assert (found["swap.txt"][4], found["swap.txt"][7]) == ("0.017", "0.00")
    assert float(found["swap.txt"][5]) <= 0.05
    assert float(found["haar.npy"][7]) == pytest.approx(float(found["haar.npy"][8]), rel=0.1)


@pytest.mark.usefixtures("files")
def test_the_same_seed_gives_the_same_table_whatever_other_files_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    alone = rows(told(capsys, "swap.txt", "--draws", "19")[1])
    assert rows(told(capsys, "haar.npy", "swap.txt", "--draws", "19")[1])["swap.txt"] == alone["swap.txt"]
    assert rows(told(capsys, "swap.txt", "--draws", "19", "--seed", "1")[1]) != alone


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "d"), [(["haar.npy", "--power"], D), (["--power", "haar.npy"], D), (["--power", "12"], 12)]
)
def test_the_power_is_measured_at_the_width_of_the_first_file_or_the_one_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], d: int
) -> None:
    monkeypatch.setattr(bridge.shell.haar, "N_TESTS", 3)
    code, out, err = told(capsys, *words, "--draws", "39")
    assert (code, err) == (0, "")
    assert f"kind of matrix, d = {d}" in out
    shares = dict(re.findall(r"^([a-zA-Z -]+?) +(\d+%) +\d+%", out, flags=re.M))
    assert list(shares) == ["Haar draw", *ALTERNATIVES]
    assert int(shares["Haar draw"].rstrip("%")) < 50
    assert shares["signed permutation"] == "100%"
    assert ("haar.npy" in rows(out)) == (d == D)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "no file to test; wanted a matrix, or --power with a width: give one, such as R.npy"),
        (["haar.npy", "--draws", "3"], "--draws 3 is too few; wanted at least 19: raise it"),
        (["--power", "3"], "--power 3 is too narrow; wanted a width of 4 or more: raise it"),
        (["haar.npy", "gone.npy"], "no file gone.npy; wanted a matrix in one of .npy, .safetensors, .txt, .csv: "
                                   "correct the path"),
        (["both.safetensors"], "both.safetensors holds one, two; wanted the name of one of them, got None: give it"),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert told(capsys, *words) == (1, "", f"bridge: {line}\n")
