"""``lmhld learn``, ``map`` and ``export``: networks and maps for scenes of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from lmhld_nb.cli.options import Device, NoData, Pairs, Quiet, Workers, app, argument, option
from lmhld_nb.config import UserError, runs_dir


@app.command(cls=Pairs, epilog="Example: lmhld learn scene.tif slides.gpkg --bands red,green,blue --out net/")
def learn(
    scene: Annotated[Path, argument("SCENE", "georeferenced image")],
    labels: Annotated[Path, argument("LABELS", "polygons, or a mask: 1 landslide, 0 background, 255 unlabelled")],
    out: Annotated[Path, option("PATH", "folder for the results")],
    searched: Annotated[Path | None, option("PATH", "polygons of searched ground; default: around landslides")] = None,
    layer: Annotated[str | None, option("NAME", "layer of LABELS, where it has several")] = None,
    class_column: Annotated[str | None, option("NAME", "column of LABELS that tells classes apart")] = None,
    landslide: Annotated[str, option("NAME", "its values that mean landslide, e.g. scar,flow")] = "",
    background: Annotated[str, option("NAME", "its values that mean searched, no landslide")] = "",
    review: Annotated[bool, typer.Option("--review", help="LABELS: a map's, right or wrong in column review")] = False,
    also: Annotated[list[str] | None, option("SCENE LABELS", "another labelled scene; repeatable")] = None,
    start: Annotated[Path | None, option("PATH", "network to compare with and to train on", "--from")] = None,
    freeze: Annotated[int, option("NUMBER", "encoder levels of that network that keep their weights")] = 0,
    bands: Annotated[str | None, option("NAMES", "names of the files' bands in order, e.g. red,green,blue")] = None,
    nodata: NoData = None,
    before: Annotated[Path | None, option("PATH", "the scene before the event, on its grid: changes are bands")] = None,
    dem: Annotated[Path | None, option("PATH", "elevation in metres, any grid: elevation and slope are bands")] = None,
    steps: Annotated[int | None, option("NUMBER", "training steps of each network; default: about a minute")] = None,
    device: Device = "auto",
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train a network for your own event from a few labels.

    Ground that is not labelled is never taken for background.
    """
    from lmhld_nb import mapping
    from lmhld_nb.mapping.labelled import LabelFile
    from lmhld_nb.scenes.scene import Scene

    if review and (class_column or landslide or background):
        raise UserError("learn: --review has classes of its own; leave out --class-column, --landslide, --background")
    if bool(class_column) != bool(landslide) or (background and not landslide):
        raise UserError("learn: --class-column, --landslide, --background belong together; leave all out for one class")
    if lone := [text for text in also or () if text.count("\n") != 1]:
        raise UserError(f"--also {lone[0]}: give a scene and its labels")
    if review:
        class_column, landslide, background = "review", "right", "wrong"
    classes = class_column, tuple(landslide.split(",")), tuple(filter(None, background.split(",")))
    names = tuple(bands.split(",")) if bands else None

    def pair(image: Path, file: Path, ground: Path | None = None) -> tuple[Scene, LabelFile]:
        described = mapping.scene_of_file(image, names, tuple(nodata or ()) or None)
        return described, LabelFile(file, ground, layer, *classes, around=review)

    others = [pair(*map(Path, text.split("\n"))) for text in also or ()]
    settings = mapping.LearnSettings(steps, freeze=freeze, device=device, workers=workers, before=before, dem=dem)
    card = mapping.learn(*pair(scene, labels, searched), out, others, start, settings, not quiet)
    typer.echo(f"{card['landslides']} landslides, {card['labelled_share']:.1%} of the scene labelled: searched.gpkg")
    for row in card["candidates"]:
        typer.echo(f"  F1 {row['f1']:.3f}  {row['candidate']}")
    for line in (*card["notes"], *card["verdict"]):
        typer.echo(line)


@app.command("map", epilog="Example: lmhld map scene.tif --run 0123456789abcdef --bands red,green,blue --out map/")
def map_(
    scene: Annotated[list[Path], argument("SCENE", "image; tiles or their folder; one file per band; .SAFE folder")],
    out: Annotated[Path, option("PATH", "folder for the results")],
    run_id: Annotated[str | None, option("RUN_ID", "id of a finished run", "--run")] = None,
    weights: Annotated[Path | None, option("PATH", "a file of `lmhld learn` or `lmhld export`")] = None,
    bands: Annotated[str | None, option("NAMES", "names of the file's bands in order, e.g. red,green,blue")] = None,
    nodata: NoData = None,
    resolution: Annotated[str | None, option("METRES", "metres to predict at, or `trained`; not of results")] = None,
    truth: Annotated[Path | None, option("PATH", "mask on the scene's grid, or polygons, to score against")] = None,
    truth_code: Annotated[int | None, option("NUMBER", "landslide's value in a --truth mask; default: 1")] = None,
    layer: Annotated[str | None, option("NAME", "layer of --truth, where it has several")] = None,
    where: Annotated[str | None, option("FILTER", "polygons of --truth to take, e.g. \"class = 'slide'\"")] = None,
    threshold: Annotated[float | None, option("NUMBER", "least probability of landslide; default: the file's")] = None,
    overlap: Annotated[float, option("NUMBER", "share of a window that its neighbour covers too")] = 0.5,
    min_area_m2: Annotated[float | None, option("NUMBER", "leave out smaller polygons, m²; default: 10 pixels")] = None,
    min_area_px: Annotated[int | None, option("NUMBER", "the same in pixels")] = None,
    fill_holes_m2: Annotated[float, option("NUMBER", "fill smaller holes of polygons, in m²")] = 0.0,
    smooth: Annotated[bool, typer.Option(help="smooth outlines, within half a pixel")] = True,
    before: Annotated[Path | None, option("PATH", "the scene before the event, where the network wants it")] = None,
    dem: Annotated[Path | None, option("PATH", "elevation in metres, any grid: slope and relief of polygons")] = None,
    least_slope: Annotated[float, option("NUMBER", "degrees; flatter ground is no landslide (needs --dem)")] = 0.0,
    clouds: Annotated[Path | None, option("PATH", "polygons, or a mask on the scene's grid: not imaged")] = None,
    keep_rims: Annotated[bool, typer.Option("--keep-rims", help="rims of pure white or black are imaged")] = False,
    searched: Annotated[Path | None, option("PATH", "polygons: distance from them; default: by the weights")] = None,
    device: Device = "auto",
    view: Annotated[bool, typer.Option("--view", help="write view.html too: the map in any browser, offline")] = False,
    quiet: Quiet = False,
) -> None:
    """Map the landslides of a scene: rasters and polygons. With QGIS styles, an overlay (PNG) and a report (JSON)."""
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
    run: Annotated[str, argument("RUN", "id of a finished run, or a .safetensors file of `lmhld learn`")],
    out: Annotated[Path, option("PATH", "FILE.safetensors, or FILE.onnx for other programs")],
    deepness: Annotated[bool, typer.Option("--deepness", help="FILE.onnx for QGIS's plugin of that name")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace files that are no earlier export, too")] = False,
) -> None:
    """Write a trained network as one file. `lmhld map --weights` needs nothing else."""
    from lmhld_nb.mapping import export as exports

    for path in exports.export(run, out, force, deepness):
        typer.echo(path)
