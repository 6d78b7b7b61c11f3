"""The explorers in a real JupyterLab and a real browser: Debian's Chromium, driven by Playwright (`make test-site`)."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pytest
from conftest import TINY
from playwright.sync_api import Browser, Page

from lmhld_nb.config import ROOT

pytest_plugins = ["chromium"]

KERNEL = "LMHLD book"


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    """A page that has nothing to remember and speaks to nobody else."""
    return browser.new_page(viewport={"width": 1300, "height": 1000})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what JupyterLab needs of the book; its explorers show a tiny profile."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "notebooks" / "jupyter_lab", folder / "notebooks" / "jupyter_lab")
    for name in ("00_start", "explorer"):
        text = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
        text = text.replace('profile: str = "mini"', f'profile: str = "{folder / "tiny.yaml"}"')
        (folder / "notebooks" / f"{name}.py").write_text(text, encoding="utf-8")
        jupytext.write(jupytext.reads(text, fmt="py:percent"), folder / "notebooks" / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, twin_data: Path) -> Iterator[tuple[str, str]]:
    """JupyterLab as `make lab` starts it, on a free port: its address and token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, address = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "jupyterlab", "--config=notebooks/jupyter_lab/config.py", "--no-browser", "--allow-root",
        f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0",
    ]  # fmt: skip
    install = [sys.executable, "-m", "ipykernel", "install", "--prefix", str(folder)]
    subprocess.run([*install, "--name", "lmhld", "--display-name", KERNEL], check=True, capture_output=True)
    settings = {"HOME": str(folder), "LMHLD_DATA": str(twin_data), "LMHLD_WORKDIR": str(folder)}
    settings["JUPYTER_PATH"] = str(folder / "share" / "jupyter")
    log = folder / "jupyter.log"
    with log.open("w") as output:
        known = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, **settings, "PYTHONPATH": known}
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            until = time.monotonic() + 90
            while not answers(f"{address}/api?token={token}"):
                assert child.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.3)
            yield address, token
        finally:
            child.terminate()
            child.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def test_the_lab_opens_on_the_first_chapter(page: Page, server: tuple[str, str]) -> None:
    address, token = server
    page.goto(f"{address}/?token={token}")
    page.wait_for_selector(".jp-Notebook h1:has-text('Start here')", timeout=60_000)
    assert page.url.split("?")[0].endswith("/lab/tree/notebooks/00_start.ipynb")
    assert page.locator(".jp-Toolbar-kernelName").first.inner_text() == KERNEL
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000)
    page.wait_for_timeout(3000)  # the kernel has said what it is
    assert not page.locator(".lm-TabBar-tab.jp-mod-dirty").count(), "unsaved, though nobody has changed it"
    assert not page.locator(".jp-Dialog, .Toastify__toast").count(), "news, or a question"
    listed = page.locator(".jp-DirListing-item").all_inner_texts()
    assert [text.split("\n")[0].strip() for text in listed] == ["00_start.ipynb", "explorer.ipynb"], listed


def test_a_slider_moved_by_keyboard_changes_the_count(page: Page, server: tuple[str, str]) -> None:
    address, token = server
    page.goto(f"{address}/lab/tree/notebooks/explorer.ipynb?token={token}")
    page.wait_for_selector(".jp-Notebook h1:has-text('The explorers')", timeout=60_000)
    page.wait_for_selector(f".jp-Toolbar-kernelName:visible:has-text('{KERNEL}')", timeout=30_000)
    page.locator(".jp-Notebook h1:visible").first.click()
    for _ in range(4):  # title, parameters, words, the first widget
        page.keyboard.press("Shift+Enter")
    row = page.locator("table.lmhld tr", has_text="kept")
    row.wait_for(timeout=120_000)
    kept = int(row.locator("td").last.inner_text())
    page.locator(".widget-slider .noUi-handle:visible").first.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.locator(".widget-readout", has_text="30").wait_for(timeout=10_000)
    kept_less = f"r.innerText.startsWith('kept') && Number(r.lastElementChild.innerText) < {kept}"
    rows = "[...document.querySelectorAll('table.lmhld tr')]"
    page.wait_for_function(f"{rows}.some(r => {kept_less})", timeout=30_000)
    assert page.locator("img.widget-image:visible").count() == 1
