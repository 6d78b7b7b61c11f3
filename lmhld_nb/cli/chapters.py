"""``lmhld book``, ``site`` and ``audit``: the chapters, and what is built from them."""

from typing import Annotated

import typer

from lmhld_nb.cli.options import Pairs, ProfileName, Quiet, app, argument, option
from lmhld_nb.config import UserError


@app.command(cls=Pairs, epilog="Example: lmhld book mini --chapter 05 -p on_missing skip -p models unet,unet_pp")
def book(
    profile: ProfileName,
    chapter: Annotated[str | None, option("NAME", "only this chapter, e.g. 05")] = None,
    parameters: Annotated[list[str] | None, option("NAME VALUE", "chapter parameter; repeatable", "-p")] = None,
    workers: Annotated[int | None, option("NUMBER", "chapters in parallel; default: one per core", min=1)] = None,
    from_records: Annotated[bool, typer.Option("--from-records", help="train no run; use published ones")] = False,
    quiet: Quiet = False,
) -> None:
    """Execute the chapters into build/PROFILE/. Their figures and tables go to build/PROFILE/figures/."""
    from lmhld_nb.book import chapters
    from lmhld_nb.experiments import profile as profiles

    profiles.load(profile)
    if lone := [text for text in parameters or () if "=" not in text]:
        raise UserError(f"-p {lone[0]}: give a name and its value, e.g. -p models unet")
    values = dict(text.split("=", 1) for text in parameters or ())
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
    profile: Annotated[str | None, argument("PROFILE", "default: mini, or edition with --committed")] = None,
    committed: Annotated[bool, typer.Option("--committed", help="use the committed chapters and figures")] = False,
) -> None:
    """Build the web edition in build/site/ from executed chapters."""
    from lmhld_nb.book import chapters

    typer.echo(chapters.site(profile or ("edition" if committed else "mini"), committed) / "index.html")


@app.command(epilog="Example: lmhld audit --json")
def audit(as_json: Annotated[bool, typer.Option("--json", help="JSON, for other programs")] = False) -> None:
    """Check the paper's numbers against each other. One line per statement, with its verdict."""
    from lmhld_nb import audit as checking

    checked = checking.checks()
    typer.echo(checking.as_json(checked) if as_json else checking.text(checked))
