"""The second `make run` against the first: python benchmarks/bench_rerun.py"""

import subprocess
import sys
import tempfile
import time


def first_look_s(outputs: str) -> float:
    """Wall seconds of `make run` without the installation."""
    start = time.perf_counter()
    words = ["experiment=first_look", f"paths.outputs={outputs}"]
    subprocess.run([sys.executable, "-m", "bridge", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def bench() -> dict[str, dict[str, float | str]]:
    """Train, extract, compute 54 cells and write the report; then the same command again."""
    with tempfile.TemporaryDirectory() as outputs:
        first, second = first_look_s(outputs), first_look_s(outputs)
    what = "make run again, when all 54 cells have records (ours), against the first time (theirs)"
    return {"rerun": {"ours": second, "theirs": first, "ratio": first / second, "unit": "s", "what": what}}


if __name__ == "__main__":
    print(bench())
