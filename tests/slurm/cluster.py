"""A real SLURM of two nodes on this machine, of the system's own programs, all of it in one folder.

Run as a program it keeps such a cluster while a process uses it: a lock of the system's tells, which ends even with a
process that is killed, so that no daemon outlives the tests.
"""

import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from filelock import FileLock

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
INSTALL = "apt-get install slurm-wlm"
NODES = ("n1", "n2")
GPUS_PER_NODE = 2
CPUS_PER_NODE = 16
# Files in the folder of a cluster: one that is there when it is up, and one that is locked by all who use it.
READY = "ready"
USERS = "users"
# Debian puts the daemons where only root looks.
SBIN = "/usr/sbin:/sbin"

# auth and cred "none": no munge. cred_expire: a requeued job would wait 120 s otherwise.
# MinJobAge: squeue must still know a job when it is asked how it ended. preempt: two partitions, a real preemption
# with a warning first. FirstJobId: ids of two clusters differ, so that a mix-up would show.
CONFIG = """\
ClusterName=c{first_port}
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldTimeout=300
SlurmdTimeout=300
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=3600
FirstJobId={first_port}
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 State=UP PriorityTier=1 GraceTime=40
PartitionName=urgent Nodes=ALL MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=16000 "
    "Gres=gpu:{gpus} State=UNKNOWN"
)
# Device files that every Linux has; nothing opens them.
GPU_FILES = ("/dev/null", "/dev/zero")
# There is no accounting; what submitit asks it, the controller can answer.
SACCT = """\
#!/bin/bash
jobs=()
while [ $# -gt 0 ]; do [ "$1" = -j ] && { jobs+=("$2"); shift; }; shift; done
echo "JobID|State|NodeList"
squeue -r -h -t all -j "$(IFS=,; echo "${jobs[*]}")" -o "%i|%T|%N"
"""


def missing_programs() -> list[str]:
    """Programs of SLURM that this machine lacks."""
    return [name for name in PROGRAMS if which(name) is None]


def which(name: str) -> str | None:
    """The path of a program, also of one that only root has on the path."""
    return shutil.which(name, path=f"{os.environ['PATH']}:{SBIN}")


@dataclass(frozen=True)
class Job:
    """What squeue says of a job, or of one task of an array."""

    id: str
    state: str
    node: str
    name: str


class Cluster:
    """Talks to a cluster that a keeper holds up in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to see this cluster."""
        # None of another SLURM that the tests themselves may run under.
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}
        return ours | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }

    def ask(self, *words: str, limit_s: float = 60) -> str:
        """Run a SLURM command to its end and return what it said."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=limit_s)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, *states: str) -> list[Job]:
        """Jobs, ended ones included, or only those in one of `states`."""
        lines = self.ask("squeue", "-r", "-h", "-t", "all", "-o", "%i|%T|%N|%j").splitlines()
        found = [Job(*line.split("|")) for line in lines]
        return [job for job in found if not states or job.state in states]

    def state(self) -> str:
        """Why jobs wait and nodes are down, and the end of the controller's log: for the message of a test that waits."""
        waits = self.ask("squeue", "-h", "-t", "all", "-o", "%i %T %r %N %j")
        nodes = self.ask("sinfo", "-h", "-N", "-o", "%N %T %E")
        return f"{waits}\n{nodes}\n{(self.folder / 'slurmctld.log').read_text()[-3000:]}"

    def unfinished(self) -> list[Job]:
        """Jobs that run or will."""
        return self.jobs("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED")

    def wait_until_empty(self, limit_s: float = 120) -> None:
        """Wait until no job runs or waits."""
        end = time.monotonic() + limit_s
        while left := self.unfinished():
            if time.monotonic() > end:
                raise TimeoutError(f"still there after {limit_s:.0f} s: {left}\n{self.state()}")
            time.sleep(0.2)

    def cancel_all(self) -> None:
        """Cancel every job and wait until none is left."""
        for job in self.unfinished():
            self.ask("scancel", job.id)
        self.wait_until_empty()


class Keeper:
    """Starts the daemons as its children and stops them."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Write the configuration, start the daemons, wait until every node is idle and a job has run."""
        folder = self.cluster.folder
        (folder / "bin").mkdir()
        (folder / "state").mkdir()
        sacct = folder / "bin/sacct"
        sacct.write_text(SACCT)
        sacct.chmod(0o755)
        host, ports = socket.gethostname(), free_ports(1 + len(NODES))
        nodes = [
            NODE.format(name=name, host=host, port=port, cpus=CPUS_PER_NODE, gpus=GPUS_PER_NODE)
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                first_port=ports[0],
                host=host,
                user=getpass.getuser(),
                ports=ports,
                folder=folder,
                nodes="\n".join(nodes),
            )
        )
        gpus = [f"NodeName={name} Name=gpu File={file}" for name in NODES for file in GPU_FILES[:GPUS_PER_NODE]]
        (folder / "gres.conf").write_text("\n".join(gpus) + "\n")
        self._spawn("slurmctld", "-D")
        for name in NODES:
            (folder / f"spool.{name}").mkdir()
            self._spawn("slurmd", "-D", "-N", name)
        self._wait_until_idle()
        self._run_a_job()

    def _spawn(self, program: str, *words: str) -> None:
        path = which(program)
        assert path is not None
        with (self.cluster.folder / "daemons.log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    [path, *words], env=self.cluster.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def _wait_until_idle(self, limit_s: float = 60) -> None:
        end, state = time.monotonic() + limit_s, ""
        while time.monotonic() < end:
            dead = [daemon.args for daemon in self.daemons if daemon.poll() is not None]
            if dead:
                raise RuntimeError(f"{dead} ended: {(self.cluster.folder / 'daemons.log').read_text()[-2000:]}")
            try:
                state = self.cluster.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%T")
            except RuntimeError as error:
                state = str(error)
            if state.split() == ["idle"] * len(NODES):
                return
            time.sleep(0.1)
        raise TimeoutError(f"the nodes are not idle after {limit_s:.0f} s: {state}")

    def _run_a_job(self, tries: int = 5) -> None:
        """See one job through. The first job of a fresh controller was once seen to wait for ever; a second one is tried."""
        for _ in range(tries):
            try:
                self.cluster.ask("sbatch", "--wait", "--mem=10M", "-o", os.devnull, "--wrap", "true", limit_s=30)
            except subprocess.TimeoutExpired:
                self.cluster.cancel_all()
            else:
                return
        raise TimeoutError(f"no job runs: {self.cluster.state()}")

    def stop(self) -> None:
        """Cancel what runs, then stop the daemons: a step whose daemon is gone would hang for a minute."""
        try:
            self.cluster.cancel_all()
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            print(f"the queue could not be emptied: {error}", file=sys.stderr)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on; below those that outgoing connections are given."""
    found: list[int] = []
    start = 10_000 + (os.getpid() * 7) % 20_000
    for port in range(start, start + 2_000):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise RuntimeError(f"no {n} free ports from {start} on")


@contextmanager
def used(folder: Path) -> Iterator[bool]:
    """Keep the cluster in `folder` up; gives False where it is ending."""
    with (folder / USERS).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def shared(base: Path) -> Iterator[Cluster]:
    """Use the cluster below `base` with all who ask for it there; the first of them starts it."""
    keeper = None
    with ExitStack() as stack:
        with FileLock(base / "slurm.lock"):
            for number in count():
                folder = base / f"slurm{number}"
                folder.mkdir(exist_ok=True)
                # One that nobody used any more is ending, and the next is another.
                if stack.enter_context(used(folder)):
                    break
            if not (folder / READY).exists():
                keeper = start(folder)
        yield Cluster(folder)
    # Whoever started it stays until nobody needs it.
    if keeper is not None:
        assert keeper.wait(600) == 0


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Start a keeper and wait until its cluster is up."""
    words = [sys.executable, __file__, str(folder)]
    keeper = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while not (folder / READY).exists():
        log = folder / "daemons.log"
        assert keeper.poll() is None, log.read_text() if log.exists() else "the keeper has ended"
        time.sleep(0.1)
    return keeper


def main(arguments: Sequence[str]) -> None:
    """Keep a cluster in the folder named, and leave word when it is up, until nobody uses it."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folder = Path(arguments[0])
    keeper = Keeper(folder)
    with (folder / USERS).open("a") as file:
        try:
            keeper.start()
            (folder / READY).touch()
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            keeper.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
