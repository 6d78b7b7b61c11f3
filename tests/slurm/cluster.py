"""A SLURM of two simulated nodes, with two GPUs and one, in a folder of its own, for as long as a block lasts.

Needs the daemons (Debian: ``slurm-wlm`` and ``munge``), ``unshare`` and root. Nothing outside the folder is written:
the commands find this cluster, and no other, through the variable ``SLURM_CONF``.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "unshare")
NODES = ("a", "b")


def missing_commands() -> list[str]:
    return [name for name in COMMANDS if _find(name) is None]


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[dict[str, str], Callable[[str], None]]]:
    """Run the cluster in ``folder`` for the block; yield the environment for its commands, and what kills a node.

    Raises `RuntimeError` where a daemon does not come up.
    """
    _configure(folder)
    # Daemons and commands must not take the job of a shell that runs in one for theirs.
    others = ("SLURM_", "SBATCH_", "SRUN_", "CUDA_VISIBLE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environment |= {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"}
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    munged = ["munged", "--foreground", f"--socket={folder}/munge.socket", *munge]
    node = ["unshare", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child", str(folder / "node")]
    daemons: list[tuple[str, list[str], Callable[[], bool]]] = [
        ("munged", munged, (folder / "munge.socket").exists),
        ("slurmctld", ["slurmctld", "-D"], lambda: "UP" in output(environment, "scontrol", "ping")),
    ]
    daemons += [(name, [*node, name], lambda name=name: "idle" in _state(environment, name)) for name in NODES]
    started = {}
    with contextlib.ExitStack() as stack:
        for name, (program, *options), is_ready in daemons:
            log = stack.enter_context((folder / f"{name}.out").open("wb"))
            command, null = [_find(program) or program, *options], subprocess.DEVNULL
            daemon = subprocess.Popen(command, env=environment, stdin=null, stdout=log, stderr=log)
            started[name] = stack.enter_context(daemon)
            stack.callback(_kill_all, folder)
            end = time.monotonic() + 120
            while not is_ready():
                if daemon.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{name} did not come up:\n{Path(log.name).read_text()[-2000:]}")
                time.sleep(0.2)
        yield environment, lambda name: started[name].kill()


def _state(environment: dict[str, str], node: str) -> str:
    return output(environment, "sinfo", "-h", "-p", "main", "-n", node, "-o", "%t")


def _configure(folder: Path) -> None:
    folder.chmod(0o755)  # munge wants its socket in a folder that anyone may enter
    values = {"folder": folder, "host": socket.gethostname().split(".")[0], "srun": _find("srun")}
    values |= {name: _free_port() for name in ("controller", *NODES)}
    for name in ("state", "bin", *(f"{kind}-{node}" for kind in ("spool", "tmp") for node in NODES)):
        (folder / name).mkdir()
    for name in ("gpu0", "gpu1"):
        (folder / name).symlink_to("/dev/null")  # slurmd wants device files, and any will do
    for name in ("slurm.conf", "gres.conf", "prolog", "node", "bin/srun"):
        template = Path(__file__).with_name(Path(name).name).read_text()
        (folder / name).write_text(template.format(**values))
        (folder / name).chmod(0o755)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))


def _kill_all(folder: Path) -> None:
    """Kill the daemons and all jobs: whatever was started with this cluster's configuration."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def output(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
