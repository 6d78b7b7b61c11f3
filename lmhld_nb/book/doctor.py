"""What `lmhld doctor` reports about this machine."""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

import torch

from lmhld_nb import sources
from lmhld_nb.book.chapters import KERNEL
from lmhld_nb.config import ROOT, data_dir, runs_dir, workdir
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.training import hardware

_PACKAGES = ("torch", "numpy", "rasterio", "geopandas", "papermill", "jupytext", "jupyterlab", "nbval")
_INSTALL = f'`python -m ipykernel install --sys-prefix --name {KERNEL} --display-name "LMHLD book"`'


def report() -> str:
    """Return a readable report: versions, devices, folders with free space, data sets and profiles."""
    rows = {"Python": f"{platform.python_version()} ({sys.executable})"}
    installed = {package.name: package.version for package in importlib.metadata.distributions()}
    rows |= {name: installed.get(name, "not installed (optional: see pyproject.toml's groups)") for name in _PACKAGES}
    kernel = Path(sys.prefix) / "share" / "jupyter" / "kernels" / KERNEL
    rows["kernel"] = "known to Jupyter" if kernel.is_dir() else f"unknown to Jupyter here: {_INSTALL}"
    cores, threads = os.cpu_count(), torch.get_num_threads()
    rows["processor"] = f"{hardware.cpu_name()}, {cores} cores, torch uses {threads}"
    torch.set_num_threads(1)  # as in runs of portable profiles
    rows["same bits"] = f"{hardware.portability(torch.device('cpu'))} (as on any x86-64 processor with AVX2)"
    rows["bf16"] = "native" if hardware.native_bf16() else "not native on this processor"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    rows["CUDA"] = ", ".join(gpus) or "no device seen"
    for name, folder in (("project", ROOT), ("work", workdir()), ("data", data_dir()), ("runs", runs_dir())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free / 1e9
        rows[name] = f"{folder} ({free:.0f} GB free, {'writable' if os.access(existing, os.W_OK) else 'READ-ONLY'})"
    ready = [name for name in sources.catalogue() if sources.is_ready(name)]
    rows["data sets"] = ", ".join(ready) or "none prepared yet: `lmhld data list`"
    rows["finished"] = f"{sum(1 for _ in runs_dir().glob('*/metrics.json'))} runs"
    rows["profiles"] = ", ".join(profiles.names())
    return "\n".join(f"{name:11} {value}" for name, value in rows.items())
