"""What several test files share: the smallest twin, made once a session, and a working folder of one's own."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from made import blobs, scene
from mapped import write_weights

import lmhld_nb as lm
from lmhld_nb import cli, config, patches, sources
from lmhld_nb.experiments import Study, load, open_study, single
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.runs import runner
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import RunSpec

SHARED = Path(os.environ.get("LMHLD_SHARED_DATA", config.ROOT.parent / "shared" / "data"))

TINY = """
name: tiny
description: two areas of the smallest twin, for tests
data: twin-smoke
areas: [emilia_romagna, gorkha]
experiments: {single: {}}
models: [unet]
width: {unet: 2}
recipe: {batch_size: 4, epochs: 3, lr: 0.05, gamma: 0.9, momentum: 0.9}
"""


for name in ("LMHLD_DATA", "LMHLD_RUNS"):  # they would take precedence over a test's own LMHLD_WORKDIR
    os.environ.pop(name, None)
settings.register_profile("book", deadline=None)  # other programs want the cores too
settings.load_profile("book")
QUIET = Execution(progress=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small are slower on several threads, and very slow where other programs want the cores too."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real samples; a test that wants them is skipped where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real samples: {SHARED} is absent (set LMHLD_SHARED_DATA)")
    return SHARED


@pytest.fixture(scope="session")
def twin_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds ``twin-smoke``; patches cut in it are shared by the tests."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_DATA", str(folder))
        sources.get("twin-smoke", progress=False)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.fixture
def tiny(twin_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a two-area profile on the twin, in a working folder whose run store is empty."""
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    monkeypatch.setenv("LMHLD_DATA", str(twin_data))
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def book(tiny: Path) -> Study:
    """The book of the two-area profile, as chapters open it."""
    return lm.open(str(tiny))


@pytest.fixture
def specs(tiny: Path) -> list[RunSpec]:
    """The trainings of the two-area profile."""
    return single.specs(open_study(load(str(tiny)), progress=False))


@pytest.fixture(scope="session")
def areas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PatchSpec]]:
    """A data folder with three areas of patches of different sizes, and their PatchSpecs."""
    folder, specs = tmp_path_factory.mktemp("areas"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_DATA", str(folder))
        for number, size in enumerate((32, 48, 32)):
            spec = PatchSpec(dataset="made", fingerprint=f"{number}" * 16, area=f"area_{number}", size=size)
            one = scene(folder / f"scene_{number}", blobs(256, 256, 50, seed=number))
            patches.cut(spec, [one], progress=False)
            specs.append(spec)
    return folder, specs


@pytest.fixture
def stages(areas: tuple[Path, list[PatchSpec]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[PatchSpec]:
    """The PatchSpecs of three areas; runs go into a folder of one's own."""
    monkeypatch.setenv("LMHLD_DATA", str(areas[0]))
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    return areas[1]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process; returns exit code, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # SIGTERM stays pytest's

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lmhld", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs trained in this process, in their order."""
    ids: list[str] = []
    original = runner.train

    def counted(spec: RunSpec, *rest: Any) -> object:
        ids.append(spec.run_id)
        return original(spec, *rest)

    monkeypatch.setattr(runner, "train", counted)
    return ids
