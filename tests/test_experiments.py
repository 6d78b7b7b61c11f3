"""Profiles, studies and plans: stable run ids, bad input in one line, what a chapter does about missing runs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import QUIET
from made import refuses

from lmhld_nb import models, paper, runs, sources
from lmhld_nb.experiments import EXPERIMENTS, Study, load, open_study, single
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments.plan import PlannedRun, plan, plan_table, ranks
from lmhld_nb.training.hardware import Execution


@pytest.fixture
def study(tiny: Path) -> Study:
    return open_study(load(str(tiny)), progress=False)


def changed(study: Study, **changes: object) -> Study:
    return replace(study, profile=study.profile.model_copy(update=changes))


def with_patches(study: Study, **changes: object) -> Study:
    return changed(study, patches=study.profile.patches.model_copy(update=changes))


def ids(planned: list[PlannedRun]) -> list[str]:
    return [entry.spec.run_id for entry in planned]


def rewrite(path: Path, old: str, new: str) -> str:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return str(path)


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_of_the_book_loads(name: str) -> None:
    loaded = load(name)
    assert loaded.name == name and loaded.data in sources.catalogue()
    assert set(loaded.models) <= set(models.NAMES)
    assert "\n" not in loaded.description and (loaded.execution.device == "cpu") == loaded.portable


def test_the_paper_s_profile_has_the_published_recipe() -> None:
    recipe = load("paper").recipe
    assert (recipe.batch_size, recipe.epochs, recipe.lr, recipe.gamma) == (16, 300, 0.01, 0.99)
    assert (recipe.momentum, recipe.weight_decay, recipe.loss, recipe.optimiser) == (0.0, 0.0, "bce", "sgd")
    assert load("paper").width == {}


def test_the_rehearsal_makes_the_runs_of_the_paper_s_profile_in_one_epoch() -> None:
    paper, rehearsal = load("paper"), load("rehearsal")
    own = {"recipe": rehearsal.settings("recipe")}  # which compares epochs
    assert rehearsal.experiments.model_dump() == paper.experiments.model_copy(update=own).model_dump()
    assert (rehearsal.data, rehearsal.patches) == (paper.data, paper.patches)
    assert rehearsal.recipe == paper.recipe.model_copy(update={"epochs": 1})


@pytest.mark.parametrize(("old", "new", "message"), [
    ("models: [unet]", "models: [resnet]", "key 'models.0' = 'resnet': model 'resnet': unknown; choose one of"),
    ("models: [unet]", "models: ['no.such:net']", "no.such cannot be imported"),
    ("{single: {}}", "{}", "experiments: name at least one, e.g. single: {}"),
    ("single: {}", "single: null", "experiments: name at least one"),
    ("single", "sngle", "unknown key 'experiments.sngle'"),
    ("single", "patch_size: {candidates: {rio: [40]}}, single", "key 'experiments.patch_size.candidates.rio.0'"),
    ("single", "recipe: {area: rio, epochs: []}, single", "key 'experiments.recipe.epochs'"),
    ("data:", "extensions: [no_such]\ndata:",
     "key 'extensions': extension 'no_such': cannot be imported (ModuleNotFoundError"),
    ("lr: 0.05", "lr: -0.1", "key 'recipe.lr'"),
    ("recipe: {", "recipe: {loss: focal, ", "unknown loss; choose one of bce, dice_bce, labelled_dice_bce"),
    ("recipe: {", "recipe: {optimiser: adamw, ", "adamw has no momentum; set it to 0"),
    ("data:", "patches: {fractions: [0.7, 0.3, 0.0]}\ndata:", "key 'patches.fractions.2'"),
    ("data:", "patches: {bands: []}\ndata:", "key 'patches.bands'"),
    ("[unet]", "[]", "key 'models'"),
    ("recipe: {", "recipe: {portable: true, ", "write `portable: true` beside `recipe`"),
    ("recipe: {", "portable: true\nrecipe: {precision: bf16, ", "needs `precision: fp32` and `threads: 1`"),
    ("data:", "portable: true\nexecution: {threads: 2}\ndata:", "needs `precision: fp32` and `threads: 1`"),
    ("name: tiny", "name: ..", "key 'name' '..': no file or folder can be named after it"),
    ("name: tiny", "name: small", "key 'name' = 'small': must be the file's own name, 'tiny'"),
])  # fmt: skip
def test_a_wrong_profile_is_refused_in_one_line(tiny: Path, old: str, new: str, message: str) -> None:
    assert str(tiny) in refuses(re.escape(message), load, rewrite(tiny, old, new))


def test_profiles_are_narrowed(study: Study) -> None:
    profile = study.profile
    assert profiles.narrow(profile, [], "") == profile
    one = profiles.narrow(profile, "unet", ["gorkha"])
    assert (one.name, one.models, one.areas) == ("tiny-part", ("unet",), ("gorkha",))
    refuses("model 'resnet': not in profile 'tiny', which has unet", profiles.narrow, profile, ["resnet"], [])
    # An experiment on an area that is left out is left out too; others forget the areas that they name.
    rio = profiles.narrow(load("mini"), [], "rio").model_copy(update={"data": "twin-smoke"})
    planned = plan(Study(rio, study.dataset))
    assert {area for entry in planned for area in entry.areas} == {"rio"}
    assert not any("recipe" in entry.experiments for entry in planned)
    assert profiles.narrow(load("mini"), ["unet_pp"], []).settings("part").compared == "unet_pp"
    assert not profiles.narrow(load("edition"), [], "gorkha").makes("beyond"), "it compares sizes in another area"
    assert profiles.narrow(load("edition"), [], "gorkha, wenchuan").makes("beyond")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("gorkha]", "atlantis]", "key 'areas': no area 'atlantis' in 'twin-smoke'; it has rio, "),
    ("data:", "patches: {sizes: {gorka: 64}}\ndata:", "key 'patches.sizes': no area 'gorka'"),
    ("data:", "patches: {bands: [red, swir]}\ndata:", "key 'patches.bands': 'twin-smoke' has no band 'swir'"),
    ("single", "patch_size: {areas: [rio]}, single", "key 'experiments.patch_size.areas': 'rio' is not among the"),
    ("single", "part: {first: [atlantis]}, single", "key 'experiments.part.first': no area 'atlantis'"),
    ("single: {}", "part: {compared: nosuch}", "key 'experiments.part.compared' = 'nosuch'"),
    ("single", "recipe: {area: rio}, single", "key 'experiments.recipe.area': 'rio' is not among"),
    ("single", "mix: {size: 4096}, single",
     "key 'experiments.mix.size' = 4096: no scene of 'twin-smoke' is that large"),
    ("single", "patch_size: {candidates: {gorkha: [4096]}}, single",
     "no scene is as large as the candidate sizes 4096"),
])  # fmt: skip
def test_an_experiment_that_would_stay_empty_is_refused(tiny: Path, old: str, new: str, message: str) -> None:
    refuses(re.escape(message), lambda: plan(open_study(load(rewrite(tiny, old, new)), progress=False)))


def test_areas_and_patch_sizes_follow_the_data_set_and_the_rule(study: Study) -> None:
    everything = changed(study, areas=())
    assert everything.areas == tuple(paper.areas().index) == tuple(everything.scenes())
    published = paper.areas()["patch_size"]
    assert all(everything.patch_size(area) == published[area] for area in everything.areas)
    mixed = with_patches(study, size=64, sizes={"gorkha": 128})
    assert (mixed.patch_size("gorkha"), mixed.patch_size("rio")) == (128, 64)
    assert mixed.patch_spec("gorkha").size == 128 and mixed.patch_spec("gorkha", 32).size == 32
    refuses("no published patch size for 'atlantis'; add it under `patches: sizes:`", study.patch_size, "atlantis")
    says = "patches of 4096 px do not fit; give a smaller size, or leave part out"
    refuses(says, with_patches(study, size=4096).fitting_patch_spec, "gorkha", "part")


def test_plans_are_stable(study: Study) -> None:
    planned = plan(study, "2")
    assert plan(study, "single") == planned and [entry.areas for entry in planned] == [("emilia_romagna",), ("gorkha",)]
    execution = Execution(threads=2, checkpoint_every=1)
    assert ids(plan(changed(study, name="other", description="", execution=execution))) == ids(planned)
    assert plan(changed(study, areas=study.profile.areas[::-1])) == planned, "the data set's order holds"
    seeds = plan(changed(study, seeds=(0, 1)))
    assert len(set(ids(seeds))) == 4 and set(ids(planned)) < set(ids(seeds))
    labels = iter([("beyond",), ("1",), ("3", "beyond"), ("2",)])
    order = ranks(mixed := [replace(entry, experiments=next(labels)) for entry in seeds])
    early = [(entry.spec.seed, *entry.experiments) for entry in sorted(mixed, key=lambda run: order[run.spec.run_id])]
    assert early == [(0, "3", "beyond"), (0, "beyond"), (1, "2"), (1, "1")], "first one seed of all"
    assert not set(ids(plan(with_patches(study, min_share=0.2)))) & set(ids(planned))
    refuses(r"experiment 9: unknown; choose from 1 \(patch_size\), 2 \(single\)", plan, study, "9")
    refuses(re.escape("does not include the experiment 'recipe', only single; add `recipe: {}`"), plan, study, "recipe")


def test_the_published_recipe_has_the_runs_of_the_paper(study: Study) -> None:
    # 1 to 3: 7 areas × 3 sizes × 7 networks, 7 × 7, and 7. 4: 24 stages per network, two seeds more of U-Net's first
    # chain, ten strategies of three seeds that share their first stages, three trainings on all areas at once.
    study = Study(load("paper").model_copy(update={"data": "twin-smoke"}), study.dataset)
    planned = plan(study)
    counts = {entry.label: sum(entry.label in run.experiments for run in planned) for entry in EXPERIMENTS.values()}
    # Beyond, each with 3 seeds: the base, background, true labels, two splits, five sizes, five switches.
    beyond = (1 + 1 + 1 + 2 + 5 + 5) * 3
    expected = {"1": 147, "2": 49, "3": 7, "4": 24 * 7 + 14 + 10 * 6 * 3 + 3, "5": 14, "recipe": 16}
    expected |= {"beyond": beyond, "leave_one_out": 7 * 3}
    assert counts == expected
    paper_runs = [entry for entry in planned if not {"recipe", "beyond", "leave_one_out"} & set(entry.experiments)]
    assert {entry.spec.recipe.batch_size for entry in paper_runs} == {16}
    assert len({(entry.areas, entry.spec.data[0].size) for entry in planned if "1" in entry.experiments}) == 7 * 3


def test_missing_runs_are_skipped_trained_or_an_error(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study = changed(study, execution=QUIET)
    specs = single.specs(study)
    for on_missing in ("skip", "error"):
        refuses("2 of 2 runs are missing; make them with `lmhld run tiny`", study.fetch, specs, on_missing)
    runs.make_run(specs[1], QUIET)
    capsys.readouterr()
    assert [run.spec for run in study.fetch(specs, "skip")] == [specs[1]]
    assert capsys.readouterr().out == "1 of 2 runs are missing and left out\n"
    refuses("1 of 2 runs are missing", study.fetch, specs, "error")
    assert [run.spec for run in study.fetch(specs)] == specs
    refuses("on_missing 'wait': unknown; choose train, skip or error", study.fetch, specs, "wait")
    assert list(plan_table(plan(study))["status"]) == ["done", "done"]
    run_ids = {spec.run_id for spec in specs}
    refuses("2 of 2 runs are missing", study.fetch, specs, "skip", whole_area=run_ids)
    assert all(run.whole_area for run in study.fetch(specs, whole_area=run_ids))
    assert len(study.finished(specs, run_ids)) == 2


def test_estimates_come_from_finished_runs_alike(study: Study) -> None:
    first, second = single.specs(study)
    patch_sets = [runs.patch_sets(spec, progress=False)[0] for spec in (first, second)]
    seconds = runs.make_run(first, QUIET).metrics["seconds"]
    table = plan_table(plan(study)).set_index("run_id")
    assert table.loc[first.run_id, "seconds"] == seconds
    passes = [len(patch_set.where("train")) + len(patch_set.where("val")) for patch_set in patch_sets]
    assert table.loc[second.run_id, "seconds"] == pytest.approx(seconds * passes[1] / passes[0], rel=0.01)
