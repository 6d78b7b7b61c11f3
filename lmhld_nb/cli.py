"""The command ``lmhld``: every step of the book without a notebook.

Torch and GDAL are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmhld_nb import __version__
from lmhld_nb.config import Interrupted, UserError, runs_dir, workdir

if TYPE_CHECKING:
    from lmhld_nb.experiments import Profile, Study
    from lmhld_nb.experiments.plan import PlannedRun
    from lmhld_nb.training.hardware import Execution
    from lmhld_nb.training.specs import RunSpec

_ORDER = ["doctor", "data", "plan", "run", "book", "site", "map", "export", "verify", "audit", "student", "train"]
_ORDER += ["list", "get", "check"]  # of data
_METAVARS = {"run_ids": "RUN_ID", "scene": "SCENE", "resolution": "METRES", "bands": "NAMES", "seed": "TEXT"}
_METAVARS |= {
    "profile": "PROFILE",
    "run": "RUN_ID",
    "run_id": "RUN_ID",
    "out": "PATH",
    "from_path": "PATH",
    "path": "PATH",
}
_METAVARS |= dict.fromkeys(("experiment", "device", "name", "precision"), "NAME")
_METAVARS |= dict.fromkeys(("layout", "records", "weights", "truth", "dem", "clouds", "searched"), "FILE")


class _Commands(typer.core.TyperGroup):
    """Commands in the order of use, whose options take a FILE or a NUMBER instead of a type of Python."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, those in no order last."""
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, or None."""
        command = super().get_command(ctx, cmd_name)
        options: list[Any] = command.params if command else []
        for option in options:
            number = "" if getattr(option, "is_flag", False) else "NUMBER"
            option.metavar = option.metavar or _METAVARS.get(str(option.name), number)
            if option.param_type_name == "argument":
                option.display_type_rich = lambda ctx: None  # its name says it all
        return command


_ABOUT = """Landslide maps from satellite images: train the book's networks, check the paper, map a scene of your own.

\b
Examples:
  lmhld run mini                                       train what the book shows
  lmhld book mini                                      execute its chapters
  lmhld map scene.tif --run RUN_ID --out map/          a map to open in QGIS
  lmhld verify edition RUN_ID                          make a published number again
"""
_settings: dict[str, Any] = {"cls": _Commands, "no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(**_settings, add_completion=False, pretty_exceptions_enable=False, help=_ABOUT)
data = typer.Typer(**_settings, help="List, get and check data sets.")
app.add_typer(data, name="data")

ProfileName = Annotated[str, typer.Argument(help="smoke, mini, edition, real, paper, or a YAML file of your own")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
_EXPERIMENTS = "1 to 5 as in the paper, or patch_size, single, mix, part, unseen, recipe, beyond, leave_one_out"
Experiment = Annotated[str | None, typer.Option(help=f"only this experiment: {_EXPERIMENTS}")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="trainings side by side; default: one per core, or one per GPU")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]


@app.callback(invoke_without_command=True)
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version and leave")] = False,
) -> None:
    # --debug is read by main(), before typer: an error may come from anywhere.
    if version:
        typer.echo(f"lmhld {__version__}")
        raise typer.Exit


@data.command("list", epilog="Example: lmhld data list")
def data_list() -> None:
    """List the catalogue of data sets and which of them are there."""
    from lmhld_nb import sources

    for name, description in sources.catalogue().items():
        state = "ready" if sources.is_ready(name) else "-"
        kind = "synthetic" if description.synthetic else description.source.kind
        typer.echo(f"{name:16} {kind:10} {state:6} {description.title}")


@data.command("get", epilog="Example: lmhld data get hokkaido --from ~/Downloads/hokkaido.zip")
def data_get(
    name: Annotated[str, typer.Argument(help="a name of `lmhld data list`")],
    from_path: Annotated[Path | None, typer.Option("--from", help="adopt this folder or archive, no download")] = None,
    layout: Annotated[
        Path | None, typer.Option(help="YAML that says where images and masks lie (a template is written when needed)")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make, download or adopt a data set. Repeat it after an interruption and it goes on."""
    from lmhld_nb import sources

    dataset = sources.get(name, from_path, progress=not quiet, layout=layout)
    typer.echo(sources.summary(dataset))


@data.command("check", epilog="Example: lmhld data check my_patches/")
def data_check(path: Annotated[Path, typer.Argument(help="a folder of patches, or one scene")]) -> None:
    """Say what a folder or a scene holds, and whether the book can read it."""
    from lmhld_nb import sources

    typer.echo(sources.check(path))


def _open_plan(profile: str, experiment: str | None, progress: bool) -> tuple[Study, list[PlannedRun]]:
    from lmhld_nb import experiments
    from lmhld_nb.experiments.plan import plan as list_runs

    study = experiments.open_study(experiments.load(profile), progress)
    return study, list_runs(study, experiment)


@app.command(epilog="Example: lmhld plan mini --experiment 2")
def plan(
    profile: ProfileName,
    experiment: Experiment = None,
    csv: Annotated[bool, typer.Option("--csv", help="comma-separated, for other programs")] = False,
) -> None:
    """List the runs of a profile, their state and cost.

    A recorded run is published without its weights; `lmhld run` takes it for finished, `lmhld train` makes its weights.
    """
    from lmhld_nb.experiments.plan import describe, plan_table
    from lmhld_nb.runs import records

    study, planned = _open_plan(profile, experiment, not csv)
    name = study.profile.name
    recorded = records.read(records.path(name), name) if records.path(name).exists() else None
    table = plan_table(planned, study.profile.execution.device, recorded)
    if csv:
        typer.echo(table.to_csv(index=False, float_format="%.6g"), nl=False)
        return
    typer.echo(describe(study.profile, planned, table))


def _execution(profile: Profile, device: str, quiet: bool) -> Execution:
    """Return a profile's execution as the command line changes it; say so where a portable profile is not, here."""
    import torch

    from lmhld_nb.training.hardware import choose_device, portability

    chosen = {} if device == "auto" else {"device": device}
    execution = profile.execution.model_copy(update={"progress": not quiet, **chosen})
    if profile.portable:
        torch.set_num_threads(1)
        if (state := portability(torch.device(choose_device(execution.device)))) != "yes":
            about = "runs made here will have other digits than published ones"
            typer.echo(f"{profile.name}: not portable ({state}): {about}", err=True)
    return execution


@app.command(epilog="Example: lmhld run mini --experiment single --workers 2")
def run(
    profile: ProfileName,
    experiment: Experiment = None,
    workers: Workers = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train the missing runs of a profile. Finished ones are kept, published ones count as finished."""
    from lmhld_nb import runs
    from lmhld_nb.experiments.plan import ranks
    from lmhld_nb.runs import records

    study, planned = _open_plan(profile, experiment, not quiet)
    specs, name = [entry.spec for entry in planned], study.profile.name
    scored = {entry.spec.run_id for entry in planned if entry.whole_area}
    if records.path(name).is_file():
        records.adopt(records.read(records.path(name), name), [spec.run_id for spec in specs])
    missing = runs.missing_runs(specs, scored)
    recorded = {spec.run_id for spec in specs if runs.status(spec) == "recorded"}
    text = f"{name}: {len(planned)} runs, {len(missing)} to make"
    if recorded:
        text += f"; {len(recorded)} are recorded, {len(recorded & missing.keys())} of them made again for their weights"
    typer.echo(text)
    runs.make_runs(specs, workers, _execution(study.profile, device, quiet), scored, ranks(planned))


@app.command(epilog="Example: lmhld verify mini --sample 2 --seed monday")
def verify(
    profile: ProfileName,
    run_ids: Annotated[list[str] | None, typer.Argument(help="ids of `lmhld plan`; default: all")] = None,
    experiment: Experiment = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="only so many of those below 15 min, drawn at random")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="of the draw, any text; default: another each time")] = None,
    records: Annotated[Path | None, typer.Option(help="the records; default: those in figures/PROFILE/")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train published runs again and compare them. Bit for bit; exit code 1 if any differs."""
    from lmhld_nb import experiments
    from lmhld_nb.experiments.plan import format_duration
    from lmhld_nb.runs import records as recording
    from lmhld_nb.runs import verify as verifying

    name = experiments.load(profile).name
    file = records or recording.path(name)
    recorded = recording.read(file, name)
    study, planned = _open_plan(profile, experiment, not quiet)
    drawn = seed if seed is not None else secrets.token_hex(4)
    chosen = verifying.choose([entry.spec for entry in planned], recorded, run_ids or (), sample, drawn)
    stages = verifying.trainings(chosen)
    by_chance = f" drawn with --seed {drawn}" if sample else ""
    numbers = f"{len(chosen)} of {len(planned)} runs{by_chance}, {len(stages)} trainings with those they start from"
    typer.echo(f"{name}: {numbers}; about {format_duration(verifying.seconds(stages, recorded))} of computing")
    folder, execution = workdir() / "build" / "verify" / name, _execution(study.profile, "auto", quiet)

    def report(spec: RunSpec, difference: str) -> None:
        typer.echo(f"{spec.run_id} {spec.label}: {difference or 'identical'}")

    differences = verifying.verify(chosen, recorded, folder, execution, workers, report)
    differing = sum(map(bool, differences.values()))
    typer.echo(f"{len(differences) - differing} of {len(differences)} runs are identical")
    if differing:
        typer.echo(f"what was made here lies in {folder} until the next `lmhld verify {profile}`")
        raise typer.Exit(1)


@app.command(epilog="Example: lmhld train mini 0123456789abcdef")
def train(
    profile: ProfileName,
    run_id: Annotated[str, typer.Argument(help="an id of `lmhld plan`")],
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train one run of a profile (what a workflow calls)."""
    from lmhld_nb import runs

    study, planned = _open_plan(profile, None, not quiet)
    for entry in planned:
        if entry.spec.run_id == run_id:
            finished = runs.make_run(entry.spec, _execution(study.profile, device, quiet), entry.whole_area)
            typer.echo(f"{run_id}: F1 {finished.metrics['test']['f1']}")
            return
    raise UserError(f"run '{run_id}': not in profile '{study.profile.name}'; `lmhld plan {profile}` lists its runs")


class _Pairs(typer.core.TyperCommand):
    """A command with an option of two values that may be repeated, which typer cannot declare."""

    joints = {"-p": "=", "--also": "\n"}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two values, ``-p NAME VALUE`` into ``-p NAME=VALUE`` for example."""
        joined = list(args)
        for index in reversed([index for index, word in enumerate(args[:-2]) if word in self.joints]):
            joined[index + 1 : index + 3] = [self.joints[args[index]].join(args[index + 1 : index + 3])]
        return super().parse_args(ctx, joined)


@app.command(cls=_Pairs, epilog="Example: lmhld book mini --chapter 05 -p on_missing skip -p models unet,unet_pp")
def book(
    profile: ProfileName,
    chapter: Annotated[str | None, typer.Option(help="only this chapter, e.g. 05")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="set a parameter of the chapters; repeatable")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="chapters side by side; default: one per core")] = None,
    from_records: Annotated[
        bool,
        typer.Option("--from-records", help="from the published figures/PROFILE/records.tar.xz; nothing is trained"),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Execute chapters into build/PROFILE/. Their figures and tables go to build/PROFILE/figures/."""
    from lmhld_nb.book import chapters
    from lmhld_nb.experiments import profile as profiles

    profiles.load(profile)
    pairs = [text.partition("=") for text in parameters or ()]
    values = {name: value for name, _, value in pairs}
    store, missing = chapters.recorded_store(profile) if from_records else (None, 0)
    if missing:
        typer.echo(f"{missing} runs are not recorded yet and left out")
    for path in chapters.make(profile, chapter, not quiet, workers, values, store):
        typer.echo(path)
    if from_records:
        needs = "the live map of chapter 05 needs weights, which records do not hold"
        typer.echo(f"{needs}; `lmhld run {profile}` makes them")


@app.command(epilog="Example: lmhld site mini")
def site(
    profile: Annotated[str | None, typer.Argument(help="default: mini; edition where it is as committed")] = None,
    committed: Annotated[
        bool, typer.Option("--committed", help="from notebooks/*.ipynb and figures/ as committed: needs no training")
    ] = False,
) -> None:
    """Build the web edition from executed chapters, in build/site/."""
    from lmhld_nb.book import chapters

    typer.echo(chapters.site(profile or ("edition" if committed else "mini"), committed) / "index.html")


@app.command(epilog="Example: lmhld student --out handout/")
def student(
    out: Annotated[Path | None, typer.Option(help="folder; build/student/ if none is given")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="overwrite copies that were worked in, too")] = False,
) -> None:
    """Write the chapters without solutions, for students. Each exercise is a stub with its check."""
    from lmhld_nb.book import chapters, exercises

    folder = out or workdir() / "build" / "student"
    for path, count in exercises.write_copies(chapters.chapters(), folder, replace).items():
        typer.echo(f"{path}: {count} exercises")


@app.command("map", epilog="Example: lmhld map scene.tif --run 0123456789abcdef --bands red,green,blue --out map/")
def map_(
    scene: Annotated[
        list[Path],
        typer.Argument(help="georeferenced image, or files or a folder of them on one grid (the first with data wins)"),
    ],
    out: Annotated[Path, typer.Option(help="folder for the results")],
    run_id: Annotated[str | None, typer.Option("--run", help="id of a finished run")] = None,
    weights: Annotated[Path | None, typer.Option(help="a file of `lmhld learn` or `lmhld export`")] = None,
    bands: Annotated[str | None, typer.Option(help="names of the file's bands in order, e.g. red,green,blue")] = None,
    nodata: Annotated[float | None, typer.Option(help="no-data value; default: the file's own")] = None,
    resolution: Annotated[str | None, typer.Option(help="metres to predict at, or `trained`; not of results")] = None,
    truth: Annotated[Path | None, typer.Option(help="mask on the scene's grid, or polygons, to score against")] = None,
    truth_code: Annotated[int, typer.Option(help="value that means landslide in a --truth mask")] = 1,
    threshold: Annotated[
        float | None, typer.Option(help="least probability of a landslide; default: the file's")
    ] = None,
    overlap: Annotated[float, typer.Option(help="share of a window that its neighbour covers too")] = 0.5,
    min_area_m2: Annotated[
        float | None, typer.Option(help="leave out smaller polygons, in m² (not from rasters); default: 10 pixels")
    ] = None,
    min_area_px: Annotated[int | None, typer.Option(help="the same in pixels")] = None,
    fill_holes_m2: Annotated[float, typer.Option(help="fill smaller holes of polygons, in m²")] = 0.0,
    smooth: Annotated[bool, typer.Option(help="smooth outlines, within half a pixel")] = True,
    dem: Annotated[
        Path | None, typer.Option(help="elevation in metres, any grid: slope and relief of polygons")
    ] = None,
    least_slope: Annotated[float, typer.Option(help="degrees; flatter ground is no landslide (needs --dem)")] = 0.0,
    clouds: Annotated[Path | None, typer.Option(help="polygons, or a mask on the scene's grid: not imaged")] = None,
    keep_rims: Annotated[bool, typer.Option("--keep-rims", help="rims of pure white or black are imaged")] = False,
    searched: Annotated[
        Path | None, typer.Option(help="polygons: distance from them; default: searched.gpkg beside the weights")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="windows predicted at once; default: by device")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16, or auto: as tested, where hardware has it")] = "auto",
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
        threshold, overlap, batch_size, min_area_px, min_area_m2, fill_holes_m2, smooth, dem, least_slope, clouds,
        keep_rims, searched, resolution, precision, device, view,
    )  # fmt: skip
    first, *others = mosaics.files_of(scene)
    described = mapping.scene_of_file(first, names, nodata, truth, truth_code)
    report = mapping.map_scene(described, chosen, out, settings, others, not quiet)
    area = report["landslide_m2"]
    typer.echo(f"{out}: {report['landslides']} landslides" + (f", {area / 1e6:.3f} km²" if area is not None else ""))
    if scores := report["scores"]:
        typer.echo(", ".join(f"{metric.title} {scores[name]:.4f}" for name, metric in METRICS.items()))


@app.command(cls=_Pairs, epilog="Example: lmhld learn scene.tif slides.gpkg --bands red,green,blue --out net/")
def learn(
    scene: Annotated[Path, typer.Argument(help="georeferenced image")],
    labels: Annotated[Path, typer.Argument(help="polygons, or a mask: 1 landslide, 0 background, 255 unlabelled")],
    out: Annotated[Path, typer.Option(help="folder for the results")],
    searched: Annotated[
        Path | None, typer.Option(help="polygons of searched ground; default: around landslides")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="layer of LABELS, where it has several")] = None,
    class_column: Annotated[str | None, typer.Option(help="column of LABELS that tells classes apart")] = None,
    landslide: Annotated[str, typer.Option(help="its values that mean landslide, e.g. scar,flow")] = "",
    background: Annotated[str, typer.Option(help="its values that mean searched, no landslide")] = "",
    review: Annotated[
        bool, typer.Option("--review", help="LABELS is a map's landslides.gpkg with right or wrong in column review")
    ] = False,
    also: Annotated[
        list[str] | None, typer.Option(metavar="SCENE LABELS", help="another labelled scene; repeatable")
    ] = None,
    start: Annotated[Path | None, typer.Option("--from", help="network to compare with and to train on")] = None,
    freeze: Annotated[int, typer.Option(help="encoder levels of that network that keep their weights")] = 0,
    bands: Annotated[str | None, typer.Option(help="names of the files' bands in order, e.g. red,green,blue")] = None,
    nodata: Annotated[float | None, typer.Option(help="no-data value; default: the files' own")] = None,
    steps: Annotated[int | None, typer.Option(help="training steps of each network; default: about a minute")] = None,
    device: Device = "auto",
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train a network for your own event from a few labels.

    Ground that is not labelled is never taken for background.
    """
    from lmhld_nb import mapping
    from lmhld_nb.mapping.labelled import LabelFile

    if review and (class_column or landslide or background):
        raise UserError("learn: --review has classes of its own; leave out --class-column, --landslide, --background")
    if bool(class_column) != bool(landslide):
        raise UserError("learn: --class-column and --landslide belong together; give both, or neither for all polygons")
    if review:
        class_column, landslide, background = "review", "right", "wrong"
    classes = class_column, tuple(landslide.split(",")), tuple(filter(None, background.split(",")))
    names, pairs = tuple(bands.split(",")) if bands else None, [text.partition("\n") for text in also or ()]
    labelled = [(scene, labels, searched), *((Path(one), Path(other), None) for one, _, other in pairs)]
    first, *others = [
        (mapping.scene_of_file(image, names, nodata), LabelFile(file, ground, layer, *classes, around=review))
        for image, file, ground in labelled
    ]
    settings = mapping.LearnSettings(steps, freeze=freeze, device=device, workers=workers)
    card = mapping.learn(*first, out, others, start, settings, not quiet)
    typer.echo(f"{card['landslides']} landslides, {card['labelled_share']:.1%} of the scene labelled: searched.gpkg")
    for row in card["candidates"]:
        typer.echo(f"  F1 {row['f1']:.3f}  {row['candidate']}")
    for line in (*card["notes"], *card["verdict"]):
        typer.echo(line)


@app.command(epilog="Example: lmhld audit --json")
def audit(as_json: Annotated[bool, typer.Option("--json", help="for other programs")] = False) -> None:
    """Check the paper's numbers against each other. One line per statement, with its verdict."""
    from lmhld_nb import audit as checking

    checked = checking.checks()
    typer.echo(checking.as_json(checked) if as_json else checking.text(checked))


@app.command(epilog="Example: lmhld export 0123456789abcdef --out net.onnx")
def export(
    run: Annotated[str, typer.Argument(help="id of a finished run, or a .safetensors file of `lmhld learn`")],
    out: Annotated[
        Path, typer.Option(help="FILE.safetensors, or FILE.onnx for other programs; FILE.json beside it is for people")
    ],
    deepness: Annotated[bool, typer.Option("--deepness", help="FILE.onnx for QGIS's plugin of that name")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace files that are no earlier export, too")] = False,
) -> None:
    """Write a trained network as one file. `lmhld map --weights` needs nothing else."""
    from lmhld_nb.mapping import export as exports

    for path in exports.export(run, out, force, deepness):
        typer.echo(path)


@app.command(epilog="Example: lmhld doctor")
def doctor() -> None:
    """Look at Python, packages, devices, disk and data. The first step when something is wrong."""
    from lmhld_nb.book.doctor import report

    typer.echo(report())


def main() -> None:
    """Run the command; bad input ends in one line on stderr and exit code 2, an interruption in one and 130 or 143."""
    debug = "--debug" in sys.argv
    signals: list[int] = []

    def stop(number: int, _: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    # SIGTERM ends a command as Ctrl-C does: temporary files go, workers are stopped.
    signal.signal(signal.SIGTERM, stop)
    try:
        code = app(prog_name="lmhld", standalone_mode=False) or 0
        if code == 130:  # what typer makes of KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except (UserError, _UsageError, OSError, Interrupted, KeyboardInterrupt, typer.Abort) as error:
        if debug or (isinstance(error, OSError) and error.filename is None):
            raise
        if text := " ".join(_describe(error).split()):  # a command without arguments has shown its help
            typer.echo(f"lmhld: {text}", err=True)
        if isinstance(error, UserError | OSError | _UsageError):
            sys.exit(2)
        sys.exit(128 + (error.by if isinstance(error, Interrupted) else (signals or [signal.SIGINT])[0]))


_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer does not export it by itself


def _describe(error: BaseException) -> str:
    if isinstance(error, _UsageError):
        message, context = error.format_message(), getattr(error, "ctx", None)  # type: ignore[attr-defined]
        command = context.command_path if context else "lmhld"
        return f"{message.rstrip('.')}; see `{command} --help`" if message else ""
    if isinstance(error, OSError):  # files that the operating system refuses are no bug, wherever they were met
        return f"{error.filename}: {(error.strerror or str(error)).lower()}; check the path and its permissions"
    return str(error) if isinstance(error, UserError) else "interrupted; the same command goes on where it stopped"


if __name__ == "__main__":
    main()
