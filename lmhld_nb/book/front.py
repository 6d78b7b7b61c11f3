"""Pictures of the front page: a strip of the book's own figures, and badges of the project's own facts.

`python -m lmhld_nb.book.front` (`make front`) makes them anew: after figures are remade, or when a fact has changed.
"""

from __future__ import annotations

import ast
import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib.pyplot as plt

from lmhld_nb import audit
from lmhld_nb.book import chapters as book
from lmhld_nb.config import ROOT, atomic_path

STRIP = ROOT / "figures" / "strip.jpg"
BADGES = ROOT / "figures" / "badges"
STEPS = {
    "overview": "1. Scenes of seven areas, landslides outlined",
    "windows": "2. Windows: kept, and dropped",
    "patches": "3. Patches, from little to much landslide",
    "fig10_predictions": "4. Seven networks: hits, false alarms, misses",
    "fig16_maps": "5. Maps of events that no training has seen",
}
"""Figures of the strip, in their order, and what is said over each."""

_ROWS = (("overview", "windows"), ("patches", "fig10_predictions", "fig16_maps"))
_WIDE = 14.0  # inches
_SIGN = "synthetic data, no satellite image · profile mini · made from figures/mini by `make front`"


def sources_hash(folder: Path) -> str:
    """Return a hash of the strip's figures and titles; the strip carries it as its comment."""
    found = hashlib.sha256(repr(STEPS).encode())
    for name in STEPS:
        found.update((folder / f"{name}.png").read_bytes())
    return found.hexdigest()


def strip(folder: Path = ROOT / "figures" / "mini", target: Path = STRIP) -> Path:
    """Compose the strip from whole figures in ``folder``, each row as wide as the page, and write it as JPEG."""
    pictures = {name: plt.imread(folder / f"{name}.png") for name in STEPS}
    ratios = [[pictures[name].shape[1] / pictures[name].shape[0] for name in row] for row in _ROWS]
    heights = [_WIDE / sum(row) for row in ratios]  # of one height a row, side by side they fill the page
    figure = plt.figure(figsize=(_WIDE, sum(heights) + 0.35 * len(_ROWS) + 0.3), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)  # type: ignore[union-attr,call-arg]
    parts = figure.subfigures(len(_ROWS), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row, widths in zip(parts, _ROWS, ratios, strict=True):
        axes = part.subplots(1, len(row), width_ratios=widths, squeeze=False)[0]
        for ax, name in zip(axes, row, strict=True):
            ax.imshow(pictures[name], interpolation="lanczos", interpolation_stage="rgba")
            ax.set_title(STEPS[name], fontsize=12, loc="left")
            ax.set_axis_off()
    figure.supxlabel(_SIGN, fontsize=10, color="0.3", x=0.01, ha="left")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=110, pil_kwargs={"quality": 82, "comment": sources_hash(folder)})
    plt.close(figure)
    return target


def facts() -> dict[str, tuple[str, str]]:
    """Return what the badges say, by file name: label and value, all of it read or counted here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    functions = sum(
        isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    checks = audit.checks()
    return {
        "python": ("python", project["requires-python"]),
        "licence": ("licence", project["license"]),
        "chapters": ("chapters", str(len(book.chapters()))),
        # To the hundred below, so that not every new test makes the badge wrong.
        "tests": ("test functions", f"more than {functions // 100 * 100}"),
        "audit": ("published statements audited", str(len({check.id.split("/")[0] for check in checks}))),
    }


def badge(label: str, value: str) -> str:
    """Return an SVG of two fields, as high as a line of text; the words are its accessible name."""
    left, right = (8 + 6.6 * len(text) for text in (label, value))
    name = escape(f"{label}: {value}", {'"': "&quot;"})
    fields = "".join(
        f'<text x="{x:.1f}" y="14" textLength="{width - 10:.1f}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        for x, width, text in ((left / 2, left, label), (left + right / 2, right, value))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right:.1f}" height="20" '
        f'role="img" aria-label="{name}">'
        f"<title>{name}</title>"
        f'<rect width="{left:.1f}" height="20" fill="#444"/>'
        f'<rect x="{left:.1f}" width="{right:.1f}" height="20" fill="#00674b"/>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{fields}</g>'
        "</svg>\n"
    )


def badges(told: Mapping[str, tuple[str, str]], folder: Path = BADGES) -> list[Path]:
    """Write a badge for each of `facts`."""
    made = []
    for name, (label, value) in told.items():
        with atomic_path(folder / f"{name}.svg") as temporary:
            temporary.write_text(badge(label, value), encoding="utf-8")
        made.append(folder / f"{name}.svg")
    return made


if __name__ == "__main__":
    for path in (strip(), *badges(facts())):
        print(path.relative_to(ROOT))
