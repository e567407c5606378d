"""The cluster of the tests itself: it leaves nothing behind, and where SLURM is missing that is said."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import NODES, Cluster
from commands import wait_for

HERE = Path(__file__).parent
pytestmark = pytest.mark.slurm

# Holds a cluster as a test process does, and says when it is up.
HOLDER = """
import sys, time
from pathlib import Path
from cluster import shared
with shared(Path(sys.argv[1])) as cluster:
    print(cluster.folder, flush=True)
    time.sleep(300)
"""


def runs(pid: int) -> bool:
    try:
        # A zombie that nobody has waited for yet does not run.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_daemon_and_no_job_outlives_tests_that_were_killed(slurm: Cluster, tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with (
        subprocess.Popen(words, cwd=HERE, stdout=subprocess.PIPE, text=True) as holder,
        subprocess.Popen(words, cwd=HERE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert holder.stdout is not None
        assert other.stdout is not None
        own = Cluster(Path(holder.stdout.readline().strip()))
        # The same cluster serves both.
        assert other.stdout.readline().strip() == str(own.folder)
        said = tmp_path / "said"
        own.ask("sbatch", "--mem=10M", "-o", str(said), "--wrap", "echo $$; exec sleep 300")

        def started() -> str:
            return said.read_text().strip() if said.exists() else ""

        job = int(wait_for(started, "the job has started", limit_s=60, state=own.state))
        names = ["slurmctld", *(f"slurmd.{node}" for node in NODES)]
        pids = [job, *(int((own.folder / f"{name}.pid").read_text()) for name in names)]
        assert [runs(pid) for pid in pids] == [True] * 4
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        time.sleep(0.5)
        assert [runs(pid) for pid in pids] == [True] * 4
        os.kill(other.pid, signal.SIGKILL)
        wait_for(lambda: not any(runs(pid) for pid in pids), "all daemons and the job are gone", limit_s=30)
    assert slurm.jobs() == slurm.jobs("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("1", "1 error")])
def test_where_slurm_is_missing_the_tests_say_so_and_how_to_install_it(
    tmp_path: Path, required: str, outcome: str
) -> None:
    for path in (*HERE.glob("[!t]*.py"), *HERE.parent.glob("[!tc]*.py"), HERE.parent / "commands.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "test_it.py").write_text("def test_it(cluster):\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "PATH": str(tmp_path), "BRIDGE_REQUIRE_SLURM": required},
        capture_output=True,
        text=True,
    )
    assert outcome in done.stdout, done.stdout
    assert "SLURM is not installed (no sbatch, srun, " in done.stdout
    assert "apt-get install slurm-wlm" in done.stdout
