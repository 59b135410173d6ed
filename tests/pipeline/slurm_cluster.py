"""A Slurm cluster of three nodes on this machine, for tests: a controller, three daemons and a key of their own.

`python -m tests.pipeline.slurm_cluster FOLDER` starts one and prints its SLURM_CONF; it ends with Ctrl-C.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NODES = ("n1", "n2", "n3")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=2
MinJobAge=300
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=all Nodes=n1,n2,n3 Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=n1 MaxTime=1 State=UP
"""


def missing() -> list[str]:
    """The programs of a cluster that are not on this machine."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return [program for program in PROGRAMS if shutil.which(program, path=places) is None]


@dataclass
class Cluster:
    """A running cluster; `conf` is what SLURM_CONF names."""

    folder: Path
    conf: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str]) -> None:
        """Start one of its programs; what it says is in a file of its name."""
        with (self.folder / f"{name}.out").open("wb") as out:
            environ = {**os.environ, "SLURM_CONF": str(self.conf)}
            place = shutil.which(command[0], path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
            self.processes[name] = subprocess.Popen(
                [str(place), *command[1:]], stdout=out, stderr=out, env=environ, start_new_session=True
            )

    def stop_node(self, name: str) -> None:
        """The node is gone: its daemon and all that it started, at once, so that nothing can tell of its end."""
        of_node = {"SLURMD_NODENAME": name, "SLURM_CONF": str(self.conf)}.items()
        found = {psutil.Process(self.processes[name].pid)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if of_node <= process.environ().items():
                    found |= {process, *(one for one in process.parents() if one.name() == "slurmstepd")}
        for stop in (psutil.Process.suspend, psutil.Process.kill):
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    stop(process)
        self.processes[name].wait()

    def ask(self, *command: str) -> str:
        """What one of Slurm's own programs answers."""
        environ = {**os.environ, "SLURM_CONF": str(self.conf)}
        return subprocess.run(command, env=environ, capture_output=True, text=True).stdout

    def stop(self) -> None:
        """End all of it, with the jobs that still run."""
        self.ask("scancel", "--signal=KILL", f"--user={getpass.getuser()}")
        for process in reversed(self.processes.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster whose files are in `folder`, once its nodes are idle."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    port, *ports = free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={p} CPUs=2 RealMemory=4000 State=UNKNOWN"
        for name, p in zip(NODES, ports, strict=True)
    )
    for name in NODES:
        (folder / f"spool.{name}").mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            folder=folder, host=socket.gethostname().partition(".")[0], user=getpass.getuser(), port=port, nodes=nodes
        )
    )
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    made = Cluster(folder, conf)
    try:
        made.start("munge", [
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
        ])  # fmt: skip
        wait_for(lambda: (folder / "munge.socket").exists(), folder / "munge.out")
        made.start("ctld", ["slurmctld", "-D", "-c"])
        for name in NODES:
            made.start(name, ["slurmd", "-D", "-N", name])
        wait_for(
            lambda: made.ask("sinfo", "--noheader", "--partition=all", "--format=%T %D").strip() == "idle 3",
            folder / "ctld.log",
        )
        yield made
    finally:
        made.stop()


def wait_for(holds: Callable[[], bool], log: Path, seconds: float = 60.0) -> None:
    """Until it holds; what never does is told with what was written."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, log.read_text(errors="replace") if log.exists() else log
        time.sleep(0.1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, cluster(Path(sys.argv[1] if sys.argv[1:] else place)) as running:
        print(f"export SLURM_CONF={running.conf}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
