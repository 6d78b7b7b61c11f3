"""``lmhld plan``, ``run``, ``train`` and ``verify``: the runs of a profile."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmhld_nb.cli.options import Device, Experiment, ProfileName, Quiet, Workers, app, argument, option
from lmhld_nb.config import UserError, warn, workdir

if TYPE_CHECKING:
    from lmhld_nb.experiments import Profile, Study
    from lmhld_nb.experiments.plan import PlannedRun
    from lmhld_nb.training.hardware import Execution
    from lmhld_nb.training.specs import RunSpec


def _open_plan(profile: str, experiment: str | None, bar: bool, device: str = "auto") -> tuple[Study, list[PlannedRun]]:
    from lmhld_nb import experiments
    from lmhld_nb.experiments.plan import plan as list_runs
    from lmhld_nb.training.hardware import choose_device

    choose_device(device)  # a wrong one is refused before data are made
    study = experiments.open_study(experiments.load(profile), bar)
    return study, list_runs(study, experiment)


@app.command(epilog="Example: lmhld plan mini --experiment 2")
def plan(
    profile: ProfileName,
    experiment: Experiment = None,
    csv: Annotated[bool, typer.Option("--csv", help="comma-separated, for other programs")] = False,
) -> None:
    """List the runs of a profile with their state and cost.

    Recorded runs are published without weights: `lmhld run` counts one as finished, `lmhld train` makes its weights.
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
    """Return a profile's execution with the command line's changes; warn if a portable profile is not portable here."""
    import torch

    from lmhld_nb.training.hardware import choose_device, portability

    chosen = {} if device == "auto" else {"device": device}
    execution = profile.execution.model_copy(update={"progress": not quiet, **chosen})
    if profile.portable:
        torch.set_num_threads(1)
        if (state := portability(torch.device(choose_device(execution.device)))) != "yes":
            about = "runs made here will differ in their last digits from published ones"
            typer.echo(f"{profile.name}: not portable ({state}): {about}", err=True)
    return execution


@app.command(epilog="Example: lmhld run mini --experiment single --workers 2")
def run(
    profile: ProfileName,
    experiment: Experiment = None,
    workers: Workers = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be trained; train nothing")] = False,
    quiet: Quiet = False,
) -> None:
    """Train the missing runs of a profile, then map the unseen events. Published runs count as finished."""
    from lmhld_nb import experiments, runs
    from lmhld_nb.experiments.plan import ranks
    from lmhld_nb.runs import records, store

    study, planned = _open_plan(profile, experiment, not quiet, device)
    specs, name = [entry.spec for entry in planned], study.profile.name
    scored = {entry.spec.run_id for entry in planned if entry.whole_area}
    if records.path(name).is_file():
        records.adopt(records.read(records.path(name), name), [spec.run_id for spec in specs])
    missing = runs.missing_runs(specs, scored)
    recorded = {spec.run_id for spec in specs if runs.status(spec) == "recorded"}
    text = f"{name}: {len(planned)} runs, {len(missing)} to train"
    if recorded:
        text += f"; {len(recorded)} are recorded, {len(recorded & missing.keys())} of them again for their weights"
    typer.echo(text)
    if dry_run:
        return
    execution = _execution(study.profile, device, quiet)
    runs.make_runs(specs, workers, execution, scored, ranks(planned))
    study = replace(study, profile=study.profile.model_copy(update={"execution": execution}))
    for entry in [experiments.experiment_named(experiment)] if experiment else experiments.EXPERIMENTS.values():
        if entry.afterwards and study.profile.makes(entry.name):
            try:  # the runs are finished: whatever happens, the chapter can still do it
                with store.lock(f"{name}-{entry.name}", wait=False):
                    entry.afterwards(study, "skip", not quiet)
            except (store.Busy, UserError) as error:
                warn(f"{entry.title}: left to another process, or to the chapter ({error})")


@app.command(epilog="Example: lmhld train mini 0123456789abcdef")
def train(
    profile: ProfileName,
    run_id: Annotated[str, argument("RUN_ID", "an id from `lmhld plan`")],
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train one run of a profile. Workflow managers call this."""
    from lmhld_nb import runs

    study, planned = _open_plan(profile, None, not quiet, device)
    for entry in planned:
        if entry.spec.run_id == run_id:
            finished = runs.make_run(entry.spec, _execution(study.profile, device, quiet), entry.whole_area)
            typer.echo(f"{run_id}: F1 {finished.metrics['test']['f1']}")
            return
    raise UserError(f"run '{run_id}': not in profile '{study.profile.name}'; `lmhld plan {profile}` lists its runs")


@app.command(epilog="Example: lmhld verify edition --sample 2 --seed monday")
def verify(
    profile: ProfileName,
    run_ids: Annotated[list[str] | None, argument("RUN_ID", "ids from `lmhld plan`; default: all")] = None,
    experiment: Experiment = None,
    sample: Annotated[int | None, option("NUMBER", "draw this many runs of under 15 min at random", min=1)] = None,
    seed: Annotated[str | None, option("TEXT", "seed of the draw, any text; default: random")] = None,
    records: Annotated[Path | None, option("PATH", "file of records; default: that in figures/PROFILE/")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train published runs again and compare them bit for bit. Exit code 1 if any differs."""
    from lmhld_nb import experiments
    from lmhld_nb.experiments.plan import format_duration
    from lmhld_nb.runs import records as recording
    from lmhld_nb.runs import verify as verifying

    name = experiments.load(profile).name
    recorded = recording.read(records or recording.path(name), name)
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
        typer.echo(f"the results made here stay in {folder} until the next `lmhld verify {profile}`")
        raise typer.Exit(1)
