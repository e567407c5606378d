"""Put one fault at a time into a copy of the code and see whether the tests named beside it fail.

The faults lie in the .toml files of this folder, one file a room, one [[mutant]] an entry: `file`, the text `old` that
occurs once in it, the text `new` that replaces it, the `tests` of which one must fail then, and `why` it would matter.
"""

import argparse
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEYS = {"file", "old", "new", "tests", "why"}
PYTEST = (sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0")
# What pytest answers when a test has failed; another code than this and 0 means that none was run to its end.
FAILED = 1
OUTCOMES = ("caught", "survived", "not run")


@dataclass(frozen=True)
class Mutant:
    """One fault: `old` in `file` becomes `new`, and one of `tests` has to fail.

    Attributes:
        name: its room and its number there, from 1 on.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str

    @property
    def room(self) -> str:
        """The .toml file it lies in."""
        return self.name.partition(".")[0]

    def broken(self, root: Path) -> str:
        """The text of the file with the fault in it.

        Raises:
            ValueError: the old text is not there, or more than once.
        """
        path = root / self.file
        if not path.is_file():
            raise ValueError(f"{self.name}: there is no {self.file}; mend the entry or delete it")
        text = path.read_text()
        if (n := text.count(self.old)) != 1 or self.old == self.new:
            what = f"occurs {n} times in {self.file}, wanted once" if n != 1 else "is its own replacement"
            raise ValueError(f"{self.name}: {self.old.strip()[:60]!r} {what}; mend the entry")
        return text.replace(self.old, self.new)


def mutants(folder: Path = HERE) -> list[Mutant]:
    """Every entry of every room, in the order of the files.

    Raises:
        ValueError: an entry with other keys, or without tests.
    """
    made = []
    for path in sorted(folder.glob("*.toml")):
        for number, entry in enumerate(tomllib.loads(path.read_text())["mutant"], 1):
            name = f"{path.stem}.{number}"
            if entry.keys() != KEYS or not entry["tests"]:
                raise ValueError(f"{name} has {', '.join(entry)}; wanted {', '.join(sorted(KEYS))}, and some tests")
            made.append(Mutant(name, **entry | {"tests": tuple(entry["tests"])}))
    return made


def copy_tree(target: Path) -> None:
    """Copy what git tracks and what it does not ignore."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, target / name)


class Runner:
    """Runs tests in copies of the tree, one copy for each that runs at a time.

    Args:
        folder: for the copies.
        n_workers: how many.
        timeout_s: seconds after which tests of a broken tree are stopped, and count as not run.
    """

    def __init__(self, folder: Path, n_workers: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.free: queue.Queue[Path] = queue.Queue()
        self.alive: set[subprocess.Popen[str]] = set()
        for i in range(n_workers):
            tree = folder / f"worker{i}" / "tree"
            copy_tree(tree)
            self.free.put(tree)

    def outcome(self, mutant: Mutant) -> tuple[str, str, float]:
        """Break a copy, test it and mend it: caught, survived or not run; what to say; and the seconds it took."""
        tree, started = self.free.get(), time.monotonic()
        try:
            broken = mutant.broken(tree)
            path = tree / mutant.file
            sound = path.read_text()
            path.write_text(broken)
            try:
                code, said = self.pytest(tree, mutant.tests, self.timeout_s)
            finally:
                path.write_text(sound)
        except ValueError as error:
            return "not run", str(error), 0.0
        finally:
            self.free.put(tree)
        wall_s = time.monotonic() - started
        if code in (0, FAILED):
            return OUTCOMES[1 - code], mutant.why, wall_s
        if code is None:
            return "not run", f"{mutant.name}: its tests had not ended after {self.timeout_s:.0f} s", wall_s
        return "not run", f"{mutant.name}: pytest answered {code}: {(said.strip().splitlines() or [''])[-1]}", wall_s

    def unbroken(self, tests: list[str]) -> str:
        """What pytest says of tests that fail though nothing is broken; empty where all pass."""
        tree = self.free.get()
        try:
            code, said = self.pytest(tree, tests, 60 * self.timeout_s)
        finally:
            self.free.put(tree)
        return "" if code == 0 else said

    def pytest(self, tree: Path, tests: list[str] | tuple[str, ...], timeout_s: float) -> tuple[int | None, str]:
        """The exit code, None after a time-out, and what was printed."""
        command = subprocess.Popen(
            [*PYTEST, f"--basetemp={tree.parent / 'tmp'}", *tests],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.alive.add(command)
        try:
            said, _ = command.communicate(timeout=timeout_s)
            return command.returncode, said
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            self.alive.discard(command)
            kill(command)

    def stop(self) -> None:
        """End what runs."""
        for command in list(self.alive):
            kill(command)


def kill(command: "subprocess.Popen[str]") -> None:
    """End a command with all that it has started."""
    try:
        os.killpg(command.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    command.communicate()


def chosen(entries: list[Mutant], words: list[str]) -> list[Mutant]:
    """The entries of the rooms, or of the names, that were given; all where none was.

    Raises:
        ValueError: a word that is neither.
    """
    rooms = sorted({m.room for m in entries})
    if unknown := set(words) - set(rooms) - {m.name for m in entries}:
        raise ValueError(f"{', '.join(sorted(unknown))}: no such room or entry; the rooms are {', '.join(rooms)}")
    return [m for m in entries if not words or m.room in words or m.name in words]


def check_unbroken(runner: Runner, pool: ThreadPoolExecutor, entries: list[Mutant], n_workers: int) -> str:
    """Run all tests that are named once on the code as it is, and return what failed."""
    by_file: dict[str, set[str]] = {}
    for test in {test for m in entries for test in m.tests}:
        by_file.setdefault(test.partition("::")[0], set()).add(test)
    files = sorted(by_file)
    shares = [sorted(t for file in files[i::n_workers] for t in by_file[file]) for i in range(n_workers)]
    return "\n".join(filter(None, pool.map(runner.unbroken, filter(None, shares))))


def run(entries: list[Mutant], n_workers: int, timeout_s: float) -> int:
    """Try every entry, print a line for each and a table by room; 1 where one was not caught."""
    counts: dict[str, Counter[str]] = {m.room: Counter() for m in entries}
    seconds: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(n_workers) as pool,
    ):
        runner = Runner(Path(folder), n_workers, timeout_s)
        try:
            print("the tests that are named, on the code as it is ...", flush=True)
            if said := check_unbroken(runner, pool, entries, n_workers):
                print(f"{said}\ntests fail though nothing is broken; mend them first")
                return 1
            tried = {pool.submit(runner.outcome, m): m for m in entries}
            for done in tqdm(as_completed(tried), total=len(tried), desc="mutants", unit=""):
                mutant, (outcome, what, wall_s) = tried[done], done.result()
                counts[mutant.room][outcome] += 1
                seconds[mutant.room] += wall_s
                tqdm.write(f"{outcome:9s} {mutant.name:16s} {wall_s:5.1f} s  {mutant.file}: {what}")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise
    print(f"\n{'room':12s} {'caught':>8s} {'survived':>9s} {'not run':>8s} {'s each':>7s}")
    for room, count in counts.items():
        row = f"{room:12s} {count['caught']:8d} {count['survived']:9d} {count['not run']:8d}"
        print(f"{row} {seconds[room] / count.total():7.1f}")
    total = sum(counts.values(), Counter())
    not_run = f", {total['not run']} could not be run" if total["not run"] else ""
    print(f"{total['caught']} caught, {total['survived']} survived{not_run}")
    return int(total["caught"] < len(entries))


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Break the code on purpose, and see whether the tests notice.")
    parser.add_argument("what", nargs="*", help="rooms (maps) or entries (maps.3); without any, all of them")
    parser.add_argument("--workers", type=int, default=2, help="how many are tried at a time (default: 2)")
    parser.add_argument("--timeout-s", type=float, default=120.0, help="longest for one entry (default: 120)")
    given = parser.parse_args()
    try:
        return run(chosen(mutants(), given.what), given.workers, given.timeout_s)
    except ValueError as error:
        print(error)
    except KeyboardInterrupt:
        print("stopped")
    return 1


if __name__ == "__main__":
    sys.exit(main())
