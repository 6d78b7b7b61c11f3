"""``lmhld learn``, ``map`` and ``export``: networks and maps for your own scenes."""

from pathlib import Path
from typing import Annotated

import typer

from lmhld_nb.cli.options import Device, NoData, Pairs, Quiet, Workers, app, argument, option
from lmhld_nb.config import UserError, listed, runs_dir


@app.command(cls=Pairs, epilog="Example: lmhld learn scene.tif slides.gpkg --bands red,green,blue --out net/")
def learn(
    scene: Annotated[Path, argument("SCENE", "georeferenced image")],
    labels: Annotated[Path, argument("LABELS", "polygons, or a mask: 1 landslide, 0 background, 255 unlabelled")],
    out: Annotated[Path, option("PATH", "folder for the results")],
    searched: Annotated[Path | None, option("PATH", "searched ground (polygons); default: around landslides")] = None,
    layer: Annotated[str | None, option("NAME", "layer of LABELS, if it has several")] = None,
    class_column: Annotated[str | None, option("NAME", "column of LABELS that holds the classes")] = None,
    landslide: Annotated[str, option("NAME", "column values that mean landslide, e.g. scar,flow")] = "",
    background: Annotated[str, option("NAME", "column values that mean searched, no landslide")] = "",
    review: Annotated[bool, typer.Option("--review", help="LABELS: a map, column review says right or wrong")] = False,
    also: Annotated[list[str] | None, option("SCENE LABELS", "another labelled scene; repeatable")] = None,
    start: Annotated[Path | None, option("PATH", "network to compare with and to fine-tune", "--from")] = None,
    freeze: Annotated[int, option("NUMBER", "encoder levels of the --from network that stay fixed")] = 0,
    bands: Annotated[str | None, option("NAMES", "band names in file order, e.g. red,green,blue")] = None,
    nodata: NoData = None,
    before: Annotated[Path | None, option("PATH", "pre-event scene on the same grid: adds changes as bands")] = None,
    dem: Annotated[Path | None, option("PATH", "elevation in metres, any grid: adds it and slope as bands")] = None,
    steps: Annotated[int | None, option("NUMBER", "training steps per network; default: about a minute")] = None,
    device: Device = "auto",
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train a network for your own event from a few labels.

    Unlabelled ground is never treated as background.
    """
    from lmhld_nb import mapping
    from lmhld_nb.mapping.candidates import CANDIDATES
    from lmhld_nb.mapping.labelled import LabelFile
    from lmhld_nb.scenes.scene import Scene

    if review and (class_column or landslide or background):
        raise UserError("learn: --review defines its own classes; leave out --class-column, --landslide, --background")
    if bool(class_column) != bool(listed(landslide)) or (background and not landslide):
        raise UserError("learn: --class-column, --landslide, --background belong together; leave all out for one class")
    if lone := [text for text in also or () if text.count("\n") != 1]:
        raise UserError(f"--also {lone[0]}: give a scene and its labels")
    if review:
        class_column, landslide, background = "review", "right", "wrong"
    classes = class_column, listed(landslide), listed(background)
    names = tuple(bands.split(",")) if bands else None

    def pair(image: Path, file: Path, ground: Path | None = None) -> tuple[Scene, LabelFile]:
        described = mapping.scene_of_file(image, names, tuple(nodata or ()) or None)
        return described, LabelFile(file, ground, layer, *classes, around=review)

    others = [pair(*map(Path, text.split("\n"))) for text in also or ()]
    settings = mapping.LearnSettings(steps, freeze=freeze, device=device, workers=workers, before=before, dem=dem)
    card = mapping.learn(*pair(scene, labels, searched), out, others, start, settings, not quiet)
    typer.echo(f"{card['landslides']} landslides, {card['labelled_share']:.1%} of pixels labelled (see searched.gpkg)")
    for row in card["candidates"]:
        about = f"({CANDIDATES[row['candidate']]})" if row["candidate"] in CANDIDATES else ""
        typer.echo(f"  F1 {row['f1']:.3f}  {row['candidate']} {about}".rstrip())
    for line in (*card["notes"], *card["verdict"]):
        typer.echo(line)


@app.command("map", epilog="Example: lmhld map scene.tif --run 0123456789abcdef --bands red,green,blue --out map/")
def map_(
    scene: Annotated[list[Path], argument("SCENE", "image; tiles or their folder; one file per band; .SAFE folder")],
    out: Annotated[Path, option("PATH", "folder for the results")],
    run_id: Annotated[str | None, option("RUN_ID", "id of a finished run", "--run")] = None,
    weights: Annotated[Path | None, option("PATH", "a file from `lmhld learn` or `lmhld export`")] = None,
    bands: Annotated[str | None, option("NAMES", "band names in file order, e.g. red,green,blue")] = None,
    nodata: NoData = None,
    resolution: Annotated[str | None, option("METRES", "metres per pixel for prediction only, or `trained`")] = None,
    truth: Annotated[Path | None, option("PATH", "mask on the scene's grid, or polygons, to score against")] = None,
    truth_code: Annotated[int | None, option("NUMBER", "value of landslide in a --truth mask; default: 1")] = None,
    layer: Annotated[str | None, option("NAME", "layer of --truth, if it has several")] = None,
    where: Annotated[str | None, option("FILTER", "polygons of --truth to use, e.g. \"class = 'slide'\"")] = None,
    threshold: Annotated[float | None, option("NUMBER", "least landslide probability; default: the network's")] = None,
    overlap: Annotated[float, option("NUMBER", "fraction of a window that its neighbour also covers")] = 0.5,
    min_area_m2: Annotated[float | None, option("NUMBER", "drop smaller polygons, m²; default: 10 pixels")] = None,
    min_area_px: Annotated[int | None, option("NUMBER", "the same in pixels")] = None,
    fill_holes_m2: Annotated[float, option("NUMBER", "fill smaller holes in polygons, m²")] = 0.0,
    smooth: Annotated[bool, typer.Option(help="smooth outlines by up to half a pixel")] = True,
    before: Annotated[Path | None, option("PATH", "pre-event scene, if the network needs one")] = None,
    dem: Annotated[Path | None, option("PATH", "elevation in metres, any grid: adds slope and relief")] = None,
    least_slope: Annotated[float, option("NUMBER", "degrees; flatter ground is not mapped (needs --dem)")] = 0.0,
    clouds: Annotated[Path | None, option("PATH", "polygons, or a mask on the scene's grid: treat as no data")] = None,
    keep_rims: Annotated[bool, typer.Option("--keep-rims", help="keep pure white or black borders")] = False,
    searched: Annotated[Path | None, option("PATH", "searched ground: adds distances; default: beside weights")] = None,
    device: Device = "auto",
    view: Annotated[bool, typer.Option("--view", help="also write view.html: the map in any browser, offline")] = False,
    quiet: Quiet = False,
) -> None:
    """Map the landslides of a scene. Writes rasters, polygons, QGIS styles, an overlay (PNG) and a report (JSON)."""
    from lmhld_nb import mapping
    from lmhld_nb.evaluation import METRICS
    from lmhld_nb.scenes import mosaics

    if (run_id is None) == (weights is None):
        raise UserError("map: give either --run RUN_ID or --weights FILE")
    chosen = weights or runs_dir() / str(run_id) / "weights.safetensors"
    names = tuple(bands.split(",")) if bands else None
    settings = mapping.MapSettings(
        threshold, overlap, min_area_px, min_area_m2, fill_holes_m2, smooth, dem, least_slope, clouds,
        keep_rims, searched, resolution, device, view, before,
    )  # fmt: skip
    first, *others = mosaics.files_of(scene)
    no_data = tuple(nodata or ()) or None
    described = mapping.scene_of_file(first, names, no_data, truth, truth_code, layer, where, others)
    report = mapping.map_scene(described, chosen, out, settings, others, not quiet)
    area = report["landslide_m2"]
    typer.echo(f"{out}: {report['landslides']} landslides" + (f", {area / 1e6:.3f} km²" if area is not None else ""))
    if scores := report["scores"]:
        typer.echo(", ".join(f"{metric.title} {scores[name]:.4f}" for name, metric in METRICS.items()))


@app.command(epilog="Example: lmhld export 0123456789abcdef --out net.onnx")
def export(
    run: Annotated[str, argument("RUN", "id of a finished run, or a .safetensors file from `lmhld learn`")],
    out: Annotated[Path, option("PATH", "FILE.safetensors, or FILE.onnx for other programs")],
    deepness: Annotated[bool, typer.Option("--deepness", help="FILE.onnx for the QGIS plugin Deepness")] = False,
    force: Annotated[bool, typer.Option("--force", help="also replace files that are not earlier exports")] = False,
) -> None:
    """Write a trained network as one file. `lmhld map --weights` needs nothing else."""
    from lmhld_nb.mapping import export as exports

    for path in exports.export(run, out, force, deepness):
        typer.echo(path)
