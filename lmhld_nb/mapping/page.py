"""The live map: a single-file page with a scene, its landslides and networks' predictions, for any browser, offline.

The page is ``page/page.html`` with its style, its script and Leaflet, and one JSON object: what `describe` returns.
"""

import base64
import html
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rasterio
from IPython.display import HTML, display

from lmhld_nb import models, scenes
from lmhld_nb.config import UserError
from lmhld_nb.evaluation.objects import NO_LABEL
from lmhld_nb.mapping import files, inputs, prediction
from lmhld_nb.mapping.folder import PROBABILITY, VIEW
from lmhld_nb.mapping.outlines import Cleaning
from lmhld_nb.runs import Run
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image, Labels, Scene

FOLDER = Path(__file__).with_name("page")
LONGEST = 1024  # px, the longer side of the scene as shown, at most
LARGEST = 1_300_000  # bytes of a page's data; Leaflet adds 0.2 MB
LEVELS = np.arange(1, 100) / 100  # thresholds to choose from, besides the initial one

Read = Callable[[Window], np.ndarray]


def describe(
    image: Image,
    bands: tuple[str, ...],
    networks: Mapping[str, Read],
    truth: Read | None = None,
    about: str = "",
    notes: Sequence[str] = (),
    threshold: float = 0.5,
    least_px: float = inputs.LEAST_PX,
    largest: int = LARGEST,
    window: Window | None = None,
) -> dict[str, Any]:
    """Return what a page shows of a scene: texts, numbers, pictures as data URIs; one pixel in n of a large scene.

    ``networks`` are up to two readers of probability (negative: none) by title; ``truth`` is a reader of labels. The
    page starts with ``threshold`` and without landslides smaller than ``least_px`` scene pixels; ``largest`` limits its
    pictures, in bytes. ``window`` is the part shown (default: the whole scene).
    """
    window = window or Window(0, 0, *image.shape)
    shape, levels = (window.height, window.width), np.union1d(LEVELS, threshold)

    def pictures(step: int) -> list[str]:
        colours, _ = files.colours(image, bands, window, step)
        known = scenes.read_decimated(truth, window, step) if truth else None
        addresses = [_uri(np.rint(255 * colours).astype(np.uint8), quality=80)]
        addresses.append("" if known is None else _uri(known, lossless=True))
        for read in networks.values():
            probability = scenes.read_decimated(read, window, step)
            # The number of levels reached, compared as in a map: with thresholds of the same type.
            reached = np.searchsorted(levels.astype(probability.dtype), probability, "right").astype(np.uint8)
            addresses.append(_uri(np.where(probability < 0, np.uint8(NO_LABEL), reached), lossless=True))
        return addresses

    step = math.ceil(max(shape) / LONGEST)
    while (size := sum(map(len, made := pictures(step)))) > largest:
        step = max(step + 1, math.floor(step * math.sqrt(size / largest)))
    across, down = rasters.ground_pixel(image.crs, image.transform, image.shape)
    pixel_m2 = across * down if image.crs else image.pixel_m**2
    thinned = f"One pixel in {step} along rows and columns is shown and counted: scores differ from those of all."
    return {
        **{"title": image.scene.image.name, "about": about, "notes": [*notes, *[thinned] * (step > 1)]},
        **dict(zip(("height", "width"), (math.ceil(side / step) for side in shape), strict=True)),
        **{"row": window.row, "col": window.col, "step": step},
        **{"levels": levels.tolist(), "threshold": threshold, "least_px": max(1, round(least_px / step**2))},
        "pixel_m2": None if image.ground_m is None else pixel_m2 * step**2,
        **{"image": made[0], "truth": made[1] or None},
        "networks": [{"name": name, "probability": each} for name, each in zip(networks, made[2:], strict=True)],
    }


def _uri(pixels: np.ndarray, **options: Any) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).convert("RGB").save(file, "WEBP", method=6, **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def page(described: Mapping[str, Any]) -> str:
    """Return a page of the result of `describe`, as HTML that needs no other file; no text in it can act as code."""
    text = json.dumps(described).replace("<", "\\u003c")  # `</script>` in a name would end the data
    parts = re.split(r"\{([\w/.]+)\}", (FOLDER / "page.html").read_text(encoding="utf-8"))
    for number in range(1, len(parts), 2):  # each a file, or the data
        parts[number] = text if parts[number] == "data" else (FOLDER / parts[number]).read_text(encoding="utf-8")
    return "".join(parts)


def write(folder: Path, image: Image, report: Mapping[str, Any], labels: Labels | None, cleaning: Cleaning) -> None:
    """Write view.html from a map's rasters and report; it starts with the map's threshold and least area."""
    name, threshold, slope = _title(report["model"]), report["threshold"], report["least_slope"]
    least_px = max(cleaning.min_area_px, cleaning.min_area_m2 / math.prod(report["pixel_m"] or [1]))
    about = f"Mapped by {name}, run {report['run_id']}, with a threshold of {threshold:.3g}."
    flat = f"Ground flatter than {slope:g}° is left out of the map, but not here."
    with rasterio.open(folder / PROBABILITY) as source:
        networks = {name: lambda window: source.read(1, window=window.as_rasterio)}
        truth, notes = labels.read if labels else None, [flat] if slope else []
        described = describe(image, tuple(report["bands"]), networks, truth, about, notes, threshold, least_px)
    (folder / VIEW).write_text(page(described), encoding="utf-8")


def _title(model: str) -> str:
    return models.NETWORKS[model].title if model in models.NETWORKS else model


def of_runs(scene: Scene, runs: Sequence[Run], mapped: bool = True, **more: Any) -> dict[str, Any]:
    """Return `describe` for a scene, with its labels if it has any, and ``mapped`` by one or two finished runs."""
    with ExitStack() as stack:
        image = stack.enter_context(scenes.open_image(scene))
        has_labels = scene.mask or scene.polygons or scene.unlabelled_is_background
        labels = stack.enter_context(scenes.open_labels(scene, image)) if has_labels else None
        networks = {}
        for run in runs if mapped else ():
            name = _title(run.spec.model)
            name = f"{name}, run {run.spec.run_id[:6]}" if name in networks else name
            probability = prediction.of_run(run)(image)
            networks[name] = lambda window, values=probability: values[window.as_slices]
        return describe(image, runs[0].spec.bands, networks, labels.read if labels else None, **more)


def frame(text: str, height: int = 720) -> HTML:
    """Return a page in a frame, ``height`` pixels high, for display in a notebook."""
    style = f"width: 100%; height: {height}px; border: 0"
    return HTML(f'<div><iframe title="Live map" style="{style}" srcdoc="{html.escape(text)}"></iframe></div>')


def view(scene: Scene, runs: Run | Sequence[Run]) -> None:
    """Show the live map of a scene in JupyterLab, as predicted by one finished run or by two side by side.

    The scene is shown at once, and mapped on each call. UserError if it cannot be read, or a run's weights are missing.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    if not 1 <= len(runs) <= 2:
        raise UserError(f"view: {len(runs)} runs given; give one, or two to compare; `lmhld run` makes them")
    names = " and ".join(_title(run.spec.model) for run in runs)
    scenery = of_runs(scene, runs, mapped=False, about=f"{names} will be shown here after mapping the scene.")
    shown = display(frame(page(scenery)), display_id=True)
    live = frame(page(of_runs(scene, runs)))
    if shown:  # outside IPython, nothing is displayed
        shown.update(live)
