"""A SLURM of two simulated nodes, with two GPUs and one, in a folder of its own, for as long as a block lasts.

Needs root and what install.sh looks for. Nothing outside the folder is written: the commands find this cluster, and no
other, through the variable ``SLURM_CONF``.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = ("a", "b")
LIMIT = 600  # seconds for any step, on the slowest machine


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[dict[str, str], Callable[[str], None]]]:
    """Run the cluster in ``folder`` for the block; yield the environment for its commands, and what kills a node."""
    _configure(folder)
    # Daemons and commands must not take the job of a shell that runs in one for theirs.
    others = ("SLURM_", "SBATCH_", "SRUN_", "CUDA_VISIBLE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environment |= {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"}
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    node = ["unshare", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child", str(folder / "node")]
    commands = {"munged": ["munged", "--foreground", f"--socket={folder}/munge.socket", *munge]}
    commands |= {"slurmctld": ["slurmctld", "-D"], **{name: [*node, name] for name in NODES}}
    daemons = {}
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            log = stack.enter_context((folder / f"{name}.out").open("wb"))
            daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            daemons[name] = stack.enter_context(daemon)
            stack.callback(daemon.kill)  # with a node, all of its processes end
            wait_until("munged listens", (folder / "munge.socket").exists)
        idle = ("sinfo", "--noheader", "--Node", "--partition=main", "--format=%t")
        wait_until("both nodes are up", lambda: output(environment, *idle).split() == ["idle", "idle"])
        yield environment, lambda name: daemons[name].kill()


def _configure(folder: Path) -> None:
    folder.chmod(0o755)  # munge wants its socket in a folder that anyone may enter
    values = {"folder": folder, "host": socket.gethostname().split(".")[0], "srun": shutil.which("srun")}
    values |= {name: _free_port() for name in ("controller", *NODES)}
    for name in ("state", "bin", *(f"{kind}-{node}" for kind in ("spool", "tmp") for node in NODES)):
        (folder / name).mkdir()
    for name in ("gpu0", "gpu1"):
        (folder / name).symlink_to("/dev/null")  # slurmd wants device files, and any will do
    for name in ("slurm.conf", "gres.conf", "prolog", "node", "bin/srun"):
        (folder / name).write_text(Path(__file__).with_name(Path(name).name).read_text().format(**values))
        (folder / name).chmod(0o755)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def output(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait_until(what: str, is_so: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {LIMIT} s until {what}")
        time.sleep(0.2)
