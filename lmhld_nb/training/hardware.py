"""Hardware: the device to compute on, and what is recorded with a run's numbers."""

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

import lmhld_nb
from lmhld_nb.config import Count, Strict, UserError

Few = Annotated[int, Field(ge=1, le=256)]


class Execution(Strict):
    """How a run is computed here; not part of its identity."""

    device: str = "auto"  # or ``cpu``, ``cuda``
    progress: bool = True  # show a bar (or lines, see `config.progress_bar`)
    threads: Few = 1  # per training on the CPU
    runs_per_gpu: Few = 1  # trainings that share a GPU; more than 1 if small patches do not fill it
    cuda_graphs: bool = False  # on a GPU: replay steps as graphs; not for networks that branch on values
    checkpoint_every: Count = 10  # epochs


def choose_device(device: str) -> str:
    """Turn ``auto`` into ``cuda`` if there is a GPU, else ``cpu``; UserError for a missing device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", device):
        raise UserError(f"device '{device}': unknown; choose auto, cpu or cuda")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device '{device}': no CUDA device was found; use `--device cpu` or check `lmhld doctor`")
    if ":" in device and int(device.partition(":")[2]) >= torch.cuda.device_count():
        raise UserError(f"device '{device}': only {torch.cuda.device_count()} CUDA device(s) were found")
    return device


def environment(device: torch.device) -> dict[str, str]:
    """Return what is recorded with a run's numbers: versions and hardware."""
    return {
        "lmhld_nb": lmhld_nb.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": str(torch.get_num_threads()),
        "portable": portability(device),
    }


def portability(device: torch.device) -> str:
    """Return ``yes`` if this process computes the same bits as any x86-64 processor with AVX2, else the reason."""
    if device.type != "cpu":
        return "no: computed on a GPU"
    if os.environ.get("LMHLD_PORTABLE") == "0":
        return "no: LMHLD_PORTABLE=0 is set"
    capability = torch.backends.cpu.get_cpu_capability()
    if capability not in ("AVX2", "AVX512"):
        return "no: this processor has no AVX2"
    if not lmhld_nb.CAPPED or capability == "AVX512":
        return "no: numpy or torch was loaded before lmhld_nb"
    return "yes" if torch.get_num_threads() == 1 else "no: computed with several threads"


def device_name(device: torch.device) -> str:
    """Return the name of the GPU ``device``, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    """Return the processor's name as reported by the system."""
    with suppress(OSError):  # not Linux
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if name := re.search(r"^model name.*?:\s*(.+?)\s*$", text, re.MULTILINE):
            return name[1]
    return platform.processor() or platform.machine()


def native_bf16(device: torch.device | None = None) -> bool:
    """Whether the processor, or the GPU ``device``, multiplies bfloat16 natively (else autocast to it is slow)."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if platform.machine().lower() in ("x86_64", "amd64"):
        if lmhld_nb.CAPPED:  # to AVX2, which has no such instructions
            return False
        # oneDNN computes bf16 on any AVX-512 processor, but without these instructions slower than fp32.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision(word: str, device: torch.device) -> str:
    """Turn a recipe's precision ``auto`` into ``bf16`` if it is native, else ``fp32``."""
    return ("bf16" if native_bf16(device) else "fp32") if word == "auto" else word
