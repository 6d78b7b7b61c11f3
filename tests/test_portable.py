"""The same numbers everywhere: instruction sets are capped, and no kernel that is used fits its sums to the machine.

tests/golden.txt is what ``python tests/golden.py`` prints on every x86-64 processor with AVX2.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmhld_nb
from lmhld_nb.training import hardware

HERE = Path(__file__).parent
CPU = torch.device("cpu")
CAPABILITY = torch.backends.cpu.get_cpu_capability()
can_be_portable = pytest.mark.skipif(CAPABILITY == "DEFAULT", reason="not portable: this processor has no AVX2")


def printed_by(*program: str, **environment: str) -> list[str]:
    command, known = [sys.executable, *program], {**os.environ, **environment}
    return subprocess.run(command, env=known, capture_output=True, text=True, check=True).stdout.splitlines()


def golden() -> list[str]:
    return [line for line in (HERE / "golden.txt").read_text().splitlines() if not line.startswith("strided")]


@can_be_portable
def test_each_network_ends_with_the_weights_it_has_on_every_machine():
    assert [line for line in printed_by(str(HERE / "golden.py")) if not line.startswith("strided")] == golden()


@can_be_portable
def test_caps_hold_against_the_environment_and_caches_do_not_matter():
    """Other caches are pretended; that this reaches oneDNN shows a gradient which the networks do without."""
    hostile = {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "ALL", "MKL_CBWR": "AUTO"}
    verbose = {"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1"}
    own = (HERE / "golden.txt").read_text().split()[-1]
    printed = printed_by(str(HERE / "golden.py"), "32768", "262144", "8388608", "2", **hostile, **verbose)
    *digests, strided = [line for line in printed if re.fullmatch(r"\w+ \w+ [0-9a-f]{16}", line)]
    assert digests == golden()
    assert strided.split()[-1] != own, "the pretended caches did not reach oneDNN"
    kernels = {line.split(",")[6] for line in printed if ",primitive,exec," in line}
    assert any("avx2" in kernel for kernel in kernels)
    assert not [kernel for kernel in kernels if re.search("avx512|avx10|amx", kernel)]
    products = [line for line in printed if line.startswith("MKL_VERBOSE") and "CNR:" in line]
    assert products and all("CNR:COMPATIBLE" in line for line in products)


def test_numpy_is_capped_too():
    printed = printed_by("-c", "import lmhld_nb, numpy; numpy.show_runtime()")
    assert not re.search(r"AVX512|X86_V4", "".join(printed).partition("'not_found'")[0])


@pytest.mark.parametrize(("program", "environment", "state"), [
    ("import lmhld_nb", {}, "yes"),
    ("import numpy, lmhld_nb", {}, "no: numpy or torch was loaded before lmhld_nb"),
    ("import lmhld_nb", {"LMHLD_PORTABLE": "0"}, "no: LMHLD_PORTABLE=0 is set"),
])  # fmt: skip
def test_a_process_says_whether_its_results_are_portable(program, environment, state):
    rest = "; from lmhld_nb.training import hardware; import torch; print(hardware.portability(torch.device('cpu')))"
    clean = dict.fromkeys(lmhld_nb.CAPS, "") | {"OMP_NUM_THREADS": "1"} | environment
    assert printed_by("-c", program + rest, **clean) == [state]


@can_be_portable
def test_results_of_other_hardware_are_not_called_portable(monkeypatch):
    assert hardware.portability(CPU) == "yes"
    assert hardware.portability(torch.device("cuda")) == "no: computed on a GPU"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert hardware.portability(CPU) == "no: computed with several threads"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert hardware.portability(CPU) == "no: this processor has no AVX2"


def test_a_processor_without_avx2_is_not_told_to_use_it(tmp_path):
    (tmp_path / "cpuinfo").write_text("flags : fpu sse4_2 avx")
    program = Path(lmhld_nb.__file__).read_text().replace("/proc/cpuinfo", str(tmp_path / "cpuinfo"))
    program += "\nprint(CAPPED, CAPS.items() <= os.environ.items())"
    assert printed_by("-c", program, **dict.fromkeys(lmhld_nb.CAPS, "")) == ["False False"]
