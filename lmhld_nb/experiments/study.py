"""A study: a profile and its data set, from which every experiment derives its runs."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lmhld_nb import paper, runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import intervals
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.experiments.registry import EXPERIMENTS
from lmhld_nb.patches import PatchSet, PatchSpec, cut
from lmhld_nb.patches.measurements import measure_area
from lmhld_nb.runs import Run
from lmhld_nb.scenes import Scene
from lmhld_nb.sources import DataSet
from lmhld_nb.training.specs import RunSpec


@dataclass(frozen=True)
class Study:
    """A profile with its prepared data set; raises `UserError` if the latter lacks an area or a band that it names.

    ``seen`` collects the runs used so far, by id, for the remarks in captions.
    """

    profile: Profile
    dataset: DataSet
    seen: dict[str, Run] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        profile, dataset = self.profile, self.dataset
        for band in profile.patches.bands:
            if band not in dataset.bands:
                problem = f"'{dataset.name}' has no band '{band}'; it has {', '.join(dataset.bands)}"
                raise UserError(f"profile '{profile.name}': key 'patches.bands': {problem}")
        for key, area, must_be_used in self._named_areas():
            where = f"profile '{profile.name}': key '{key}'"
            if area not in dataset.areas:
                raise UserError(f"{where}: no area '{area}' in '{dataset.name}'; it has {', '.join(dataset.areas)}")
            # An experiment on an unused area would be left out silently.
            if must_be_used and profile.areas and area not in profile.areas:
                problem = f"'{area}' is not among the profile's `areas` ({', '.join(profile.areas)})"
                raise UserError(f"{where}: {problem}; correct one of the two, or leave the experiment out")

    def _named_areas(self) -> Iterator[tuple[str, str, bool]]:
        """Yield every area that the profile names: its key, the area, and whether the profile must use it."""
        profile = self.profile
        of_patches = {"patches.sizes": profile.patches.sizes, "patches.thin": profile.patches.thin}
        for key, areas in {"areas": profile.areas, **of_patches}.items():
            yield from ((key, area, False) for area in areas)
        for name, entry in EXPERIMENTS.items():
            for key in (*entry.used_areas, *entry.known_areas) if profile.makes(name) else ():
                settings = profile.settings(name)
                value = getattr(settings, key)
                # Defaults are the paper's areas, whether or not this data set has them.
                if value and key in settings.model_fields_set:
                    areas = (value,) if isinstance(value, str) else tuple(value)
                    yield from ((f"experiments.{name}.{key}", area, key in entry.used_areas) for area in areas)

    @cached_property
    def areas(self) -> tuple[str, ...]:
        chosen = self.profile.areas
        return tuple(area for area in self.dataset.areas if not chosen or area in chosen)

    def areas_of(self, experiment: str) -> tuple[str, ...]:
        """Return the areas used by an experiment whose settings have a key ``areas`` (empty for all)."""
        chosen = self.settings(experiment).areas
        return tuple(area for area in self.areas if not chosen or area in chosen)

    def scenes(self) -> dict[str, tuple[Scene, ...]]:
        return {area: self.dataset.scenes_of(area) for area in self.areas}

    def settings(self, experiment: str) -> Any:
        return self.profile.settings(experiment)

    def patch_size(self, area: str) -> int:
        """Return an area's patch size (px); raises `UserError` if it is ``published`` but the paper has none."""
        rule = self.profile.patches
        if area in rule.sizes:
            return rule.sizes[area]
        if rule.size != "published":
            return rule.size
        published = paper.areas()["patch_size"]
        if area not in published.index:
            problem = f"no published patch size for '{area}'; add it under `patches: sizes:`"
            raise UserError(f"profile '{self.profile.name}': {problem}")
        return int(published[area])

    def patch_spec(self, area: str, size: int | None = None) -> PatchSpec:
        """Return how an area is cut; ``size`` in pixels replaces the profile's rule."""
        rule, dataset = self.profile.patches, self.dataset
        fixed = rule.split != "given" or any(scene.split for scene in dataset.scenes_of(area))
        size = size or self.patch_size(area)
        same = rule.model_dump(include={"min_share", "bands", "fractions", "block", "seed"})
        split, thin = rule.split if fixed else "blocks", rule.thin.get(area, 1)
        data: dict[str, Any] = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, "area": area}
        return PatchSpec(**data, **same, size=size, split=split, thin=thin)

    def fitting_patch_spec(self, area: str, experiment: str) -> PatchSpec:
        """Return how an area is cut; raises `UserError` (leave out ``experiment``) if its scenes are too small."""
        spec, side = self.patch_spec(area), measure_area(self.dataset, area).largest_side
        if spec.size > side:
            where = f"profile '{self.profile.name}': '{area}' of '{self.dataset.name}': its scenes are {side} px wide"
            mend = f"give a smaller size, or leave {experiment} out of `experiments`"
            raise UserError(f"{where}, patches of {spec.size} px do not fit; {mend}")
        return spec

    def patches(self, area: str, size: int | None = None, progress: bool = False) -> PatchSet:
        return cut(self.patch_spec(area, size), self.dataset.scenes_of(area), progress)

    def batch_size(self, size: int) -> int:
        return self.profile.batch_size_at.get(size, self.profile.recipe.batch_size)

    def trainings(
        self, data: tuple[PatchSpec, ...], networks: Sequence[str] = (), seeds: Sequence[int] = (), **changes: Any
    ) -> list[RunSpec]:
        """Return the training of each network, with each seed, on the same patches of one or more areas.

        Networks and seeds default to the profile's; ``changes`` apply to the recipe.
        """
        profile, specs = self.profile, []
        own: dict[str, Any] = {"batch_size": self.batch_size(data[0].size)}
        for model in networks or profile.models:
            own["micro_batch"] = profile.micro_batch.get(model, profile.recipe.micro_batch)
            recipe = profile.recipe.model_copy(update={**own, "portable": profile.portable, **changes})
            for seed in seeds or profile.seeds_of.get(model, profile.seeds):
                specs.append(RunSpec(model=model, width=profile.width.get(model), data=data, recipe=recipe, seed=seed))
        return specs

    def finished(self, specs: Sequence[RunSpec], whole_area: Collection[str] = ()) -> list[Run]:
        """Return the finished runs of ``specs``; ids in ``whole_area`` must also be scored there."""
        stored = (runs.find(spec) for spec in specs)
        whole = [run for run in stored if run and (run.spec.run_id not in whole_area or run.whole_area is not None)]
        return self._noted(whole)

    def _noted(self, finished: list[Run]) -> list[Run]:
        self.seen.update((run.spec.run_id, run) for run in finished)
        return finished

    def doubts(self, run_ids: Collection[str] = ()) -> list[str]:
        """Return remarks on runs (not converged, few test patches, not portable); without ids, on all runs used."""
        said, seen = [], [run for run_id, run in self.seen.items() if not run_ids or run_id in run_ids]
        stages = [stage for spec in {spec for run in seen for spec in run.spec.chain} if (stage := runs.find(spec))]
        if open_ended := sum(not stage.converged for stage in stages):
            said.append(f"{open_ended} of {len(stages)} trainings not converged")
        if few := [area for run in seen for area, patches in run.tested.items() if patches < intervals.LEAST]:
            names = ", ".join(map(paper.area_name, dict.fromkeys(few)))
            said.append(f"fewer than {intervals.LEAST} test patches: {names}")
        why = {run.metrics["portable"] for run in seen if run.metrics["portable"] != "yes"}
        if self.profile.portable and why:
            said.append(f"not portable, other digits elsewhere ({'; '.join(sorted(why))})")
        return said

    def fetch(self, specs: Sequence[RunSpec], on_missing: str = "train", whole_area: Collection[str] = ()) -> list[Run]:
        """Return the finished runs of ``specs``; ids in ``whole_area`` must also be scored on their whole area.

        Missing ones are trained (``train``), left out (``skip``; UserError if all are) or a UserError (``error``).
        """
        if on_missing not in ("train", "skip", "error"):
            raise UserError(f"on_missing '{on_missing}': unknown; choose train, skip or error")
        if on_missing == "train":
            return self._noted(runs.make_runs(specs, execution=self.profile.execution, whole_area=whole_area))
        finished = self.finished(specs, whole_area)
        made = {run.spec.run_id for run in finished}
        missing = [spec.run_id for spec in specs if spec.run_id not in made]
        text = f"{len(missing)} of {len(specs)} runs are missing"
        if missing and (on_missing == "error" or not finished):
            raise UserError(f"{text}; make them with `lmhld run {self.profile.name}` (the first is {missing[0]})")
        if missing:
            print(f"{text} and left out")
        return finished


def open_study(profile: Profile, progress: bool = True) -> Study:
    """Return the study of a profile; raises `UserError` if the data set lacks what the profile names."""
    return Study(profile, open_dataset(profile.data, progress))


def open_dataset(name: str, progress: bool = False) -> DataSet:
    """Return a data set of the catalogue; synthetic ones are generated if needed, others must exist."""
    if sources.describe(name).synthetic:
        return sources.get(name, progress=progress)
    return sources.load(name)
