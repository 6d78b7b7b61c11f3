"""What `lmhld doctor` says about this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys

import torch

from lmhld_nb import sources
from lmhld_nb.book import kernels
from lmhld_nb.config import ROOT, data_dir, runs_dir, workdir
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.training import hardware

_PACKAGES = ("torch", "numpy", "rasterio", "geopandas", "papermill", "jupytext", "jupyterlab", "nbval")


def report() -> str:
    """Return a readable page: versions, devices, folders with free space, data sets and profiles."""
    lines = [f"Python      {platform.python_version()} ({sys.executable})"]
    for package in _PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed (optional: see pyproject.toml's groups)"
        lines.append(f"{package:11} {version}")
    known = "known to Jupyter" if kernels.is_installed() else "unknown to Jupyter here: `lmhld kernel`"
    lines.append(f"kernel      {kernels.TITLE}: {known}")
    lines.append(
        f"processor   {hardware.cpu_name()}, {os.cpu_count()} cores, torch uses {torch.get_num_threads()}"
    )
    lines.append(f"bf16        {'native' if hardware.native_bf16() else 'not native on this processor'}")
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    lines.append(f"CUDA        {', '.join(gpus) or 'no device seen'}")
    for name, folder in (("project", ROOT), ("work", workdir()), ("data", data_dir()), ("runs", runs_dir())):
        there = folder
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free / 1e9
        writable = "writable" if os.access(there, os.W_OK) else "READ-ONLY"
        lines.append(f"{name:11} {folder} ({free:.0f} GB free, {writable})")
    ready = [name for name in sources.catalogue() if sources.is_ready(name)]
    lines.append(f"data sets   {', '.join(ready) or 'none prepared yet: `lmhld data list`'}")
    done = sum(1 for _ in runs_dir().glob("*/metrics.json"))
    lines.append(f"runs        {done} finished")
    lines.append(f"profiles    {', '.join(profiles.names())}")
    return "\n".join(lines)
