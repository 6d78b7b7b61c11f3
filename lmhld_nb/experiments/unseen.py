"""Experiment 5: landslide events that no network was trained on (paper sections 3.2 (5) and 4.5)."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from tqdm import tqdm

from lmhld_nb import paper, runs, scenes, sources
from lmhld_nb.config import Strict
from lmhld_nb.evaluation import METRICS, best_threshold, intervals, objects
from lmhld_nb.evaluation.objects import Tally
from lmhld_nb.evaluation.ranking import STEPS, Ranked
from lmhld_nb.experiments import findings, part
from lmhld_nb.experiments.profile import Areas, Bands, ModelName
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study, open_dataset
from lmhld_nb.experiments.tables import score_table
from lmhld_nb.mapping import prediction
from lmhld_nb.patches.batches import load_split
from lmhld_nb.runs import Run
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.sources import DataSet
from lmhld_nb.training import engine, scoring
from lmhld_nb.training.hardware import choose_device
from lmhld_nb.training.specs import RunSpec

BLOCK = 128  # px, side of the squares resampled for intervals: as large as most patches
INDEX_PIXELS = 4_000_000  # of an event, about, on which its best index threshold is searched
_SCORES = [
    "f1_at_half", "average_precision", "prevalence", "landslides", "landslides_detected", "by_chance",
    "detection_rate", "mapped", "mapped_false", "calibration_error",
]  # fmt: skip
_COLUMNS = [
    "bands", "resolution_m", "scenes", "threshold", "mapped_share", *METRICS, "f1_low", "f1_high", "blocks", "f1_sd",
    "seeds", "converged", *_SCORES, "all_f1", "index_f1", "seen_f1", "run_ids",
]  # fmt: skip


class Events(Strict):
    """A data set of unseen landslides, its areas (empty: all), and the bands of the network (None: the profile's)."""

    data: str
    areas: Areas = ()
    bands: Bands | None = None


class Unseen(Strict):
    """Settings of experiment 5: the events that ``model`` maps."""

    model: ModelName = "unet"
    events: tuple[Events, ...] = ()


def specs(study: Study) -> list[RunSpec]:
    """Return all trainings: those of the networks that map events, with their chains."""
    groups = [event_networks(study, events) for events in study.settings("unseen").events]
    return part.unique_stages([final for group in groups for final in group])


def event_networks(study: Study, events: Events) -> list[RunSpec]:
    """Return the networks that map events: last stages of LMHLD_part in the first order, on these bands, by seed."""
    rule = study.profile.patches.model_copy(update={"bands": events.bands} if events.bands else {})
    chained = replace(study, profile=study.profile.model_copy(update={"patches": rule}))
    return part.last_stages(chained, part.first_order(chained), networks=(study.settings("unseen").model,))


def about(dataset: DataSet, area: str) -> str:
    """Return what a data set's description says about an event, or its name."""
    return sources.describe(dataset.name).about.get(area, paper.area_name(area))


@dataclass(frozen=True)
class ScoredEvent:
    """A run's result on an event: all scenes of an area of a data set, with pixels and landslides pooled.

    ``threshold`` comes from `validation`; ``blocks`` (n, 4) are counts in squares of `BLOCK` px; ``index_f1`` is F1 of
    the best threshold on one index, fitted to this same event.
    """

    dataset: DataSet
    area: str
    run: Run
    threshold: float
    device: str
    tally: Tally
    blocks: np.ndarray
    mapped_share: float
    pixel_m: float
    index_f1: float

    @property
    def name(self) -> str:
        """Its name; a synthetic event is called a stand-in for the real one."""
        name = paper.area_name(self.area)
        return f"stand-in for {name}" if self.dataset.synthetic else name

    @property
    def scores(self) -> dict[str, Any]:
        """`Tally.scores` at the threshold, with ``by_chance``, and ``f1_at_half``: F1 at a threshold of 0.5."""
        ranked, sizes = self.tally.ranked, self.tally.sizes
        return {**self.tally.scores(), "f1_at_half": ranked.confusion(0.5).f1, "by_chance": sizes["by_chance"].sum()}

    def mask(self) -> np.ndarray:
        """Return the map of its first scene (255: no data), computed once."""

        def compute() -> dict[str, np.ndarray]:
            with scenes.open_image(self.dataset.scenes_of(self.area)[0]) as image:
                return {"mask": _mask(prediction.of_run(self.run, self.device)(image), self.threshold)}

        return runs.remembered(self.run, f"map-{self.dataset.fingerprint}-{self.area}", compute)["mask"]

    @property
    def is_scored(self) -> bool:
        return bool(self.tally.ranked.pixels.sum())

    @property
    def shares(self) -> str:
        """The shares mapped as landslide and truly landslide, in words."""
        mapped = f"mapped {self.mapped_share:.0%}"
        return f"{mapped}, true {self.scores['prevalence']:.0%}" if self.is_scored else mapped


def available_events(study: Study) -> list[tuple[Events, DataSet]]:
    """Return the events whose data are available, and print the others; synthetic ones are generated."""
    there = []
    for events in study.settings("unseen").events:
        if sources.describe(events.data).synthetic or sources.is_ready(events.data):
            there.append((events, open_dataset(events.data)))
        else:
            print(f"{events.data}: not here; `lmhld data get {events.data} --from FOLDER`, then repeat this")
    return there


def validation(run: Run, device: str = "auto") -> Ranked:
    """Return a run's validation pixels by probability: all training areas, with background, scenes normalised singly.

    Events are mapped with the threshold of best F1 on them. Computed once (`runs.remembered`).
    """

    def compute() -> dict[str, np.ndarray]:
        target, data = torch.device(choose_device(device)), [data for stage in run.spec.chain for data in stage.data]
        cut = [runs.patch_set(spec.model_copy(update={"background": True}), progress=False) for spec in data]
        model, batches = run.model().to(target), load_split(cut, "val", target, "scene")
        ranked = Ranked.of(np.empty(0), np.empty(0))
        with torch.inference_mode(), engine.autocast(target, run.recipe):
            for images, masks in batches.load(batches.order(4 * run.recipe.batch_size, None)):
                ranked += Ranked.of(torch.sigmoid(model(images).float()).cpu().numpy(), masks.cpu().numpy() == 1)
        return {"pixels": ranked.pixels}

    return Ranked(runs.remembered(run, "validation", compute)["pixels"])


def score_all(study: Study, on_missing: str = "train", progress: bool = False) -> list[ScoredEvent]:
    """Return the results of all finished networks on the available events; may be empty with ``skip``."""
    groups = [(event_networks(study, events), events, dataset) for events, dataset in available_events(study)]
    specs = [spec for networks, _, _ in groups for spec in networks]
    if not specs or (on_missing == "skip" and not study.finished(specs)):
        print("no event is mapped: its data or its network are not here")
        return []
    finished, scored = study.fetch(specs, on_missing), list[ScoredEvent]()
    for networks, events, dataset in groups:
        for run in runs.select(networks, finished):
            scored += score_events(study, dataset, events.areas, run, progress)
    for event in one_seed(scored):
        event.mask()  # for figures, also where only the records of the run are
    return scored


def one_seed(events: Sequence[ScoredEvent]) -> list[ScoredEvent]:
    """Return each event once, with the result of its first seed, for figures."""
    return list({event.name: event for event in reversed(events)}.values())[::-1]


def score_events(study: Study, dataset: DataSet, areas: Sequence[str], run: Run, bar: bool) -> list[ScoredEvent]:
    """Return a run's results on areas of a data set, each scene mapped whole with its own statistics; computed once."""
    device, scored = study.profile.execution.device, []
    threshold = float(np.clip(validation(run, device).best()[0], 1 / STEPS, 1 - 1 / STEPS))
    for area in tqdm(areas or dataset.areas, "map", unit="event", leave=False, disable=not bar):
        compute = partial(_score, run, dataset.scenes_of(area), threshold, device)
        stored = runs.remembered(run, f"event-{dataset.fingerprint}-{area}", compute)
        arrays, facts = (Tally.of_arrays(stored), stored["blocks"]), stored["facts"].tolist()
        scored.append(ScoredEvent(dataset, area, run, threshold, device, *arrays, *facts))
    return scored


def _score(run: Run, scene_list: Sequence[Scene], threshold: float, device: str) -> dict[str, np.ndarray]:
    predict, bands = prediction.of_run(run, device), run.spec.bands
    tallies, blocks, masks, indexed = [], [], [], []
    for scene in scene_list:
        with scenes.open_image(scene) as image:
            whole, truth, pixel_m = Window(0, 0, *image.shape), np.full(image.shape, 255, np.uint8), image.pixel_m
            if scene.mask or scene.polygons or scene.unlabelled_is_background:
                with scenes.open_labels(scene, image) as labels:
                    truth = labels.read(whole)
            probability = predict(image)
            step = max(1, round((truth.size * len(scene_list) / INDEX_PIXELS) ** 0.5))
            values = scenes.read_decimated(lambda strip: image.read(strip, bands), whole, step)
            known = np.where(image.valid(values), truth[::step, ::step], 255)
        masks.append(_mask(probability, threshold))
        tallies.append(objects.tally_whole(probability, masks[-1], truth, pixel_m**2))
        squares = scoring.in_windows(masks[-1] == 1, truth == 1, (masks[-1] != 255) & (truth != 255), BLOCK)
        blocks.append(squares[:, squares.any(axis=0)].T)
        indexed.append((values.reshape(len(bands), 1, -1), known.reshape(1, -1)))
    images, labelled = (np.concatenate(parts, axis=-1)[None] for parts in zip(*indexed, strict=True))
    index_f1 = best_threshold(images, labelled, bands).confusion.f1 if (labelled <= 1).any() else np.nan
    mapped, known_px = (sum(int((mask == code).sum()) for code in codes for mask in masks) for codes in ([1], [0, 1]))
    facts = np.array([mapped / known_px, pixel_m, index_f1])
    return {**reduce(operator.add, tallies).arrays(), "blocks": np.concatenate(blocks), "facts": facts}


def _mask(probability: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(probability < 0, 255, probability >= threshold).astype(np.uint8)


def events_table(events: Sequence[ScoredEvent]) -> pd.DataFrame:
    """Tabulate events, with means over the seeds that mapped each.

    By name: bands, resolution_m, scenes, threshold, mapped_share; with labels `score_table` over blocks,
    `ScoredEvent`'s scores, all_f1 (everything mapped), index_f1; seen_f1 (on training areas); run_ids.
    """
    rows = []
    for event in events:
        scores = event.scores if event.is_scored else dict.fromkeys(_SCORES, np.nan)
        counts = pd.DataFrame(event.blocks, columns=scoring.COUNTS)
        about = {
            "event": event.name, "bands": len(event.run.spec.bands), "resolution_m": event.pixel_m,
            "scenes": len(event.dataset.scenes_of(event.area)), "threshold": event.threshold,
            "mapped_share": event.mapped_share, "all_f1": 2 * scores["prevalence"] / (1 + scores["prevalence"]),
            "index_f1": event.index_f1, "seen_f1": part.total_scores(event.run)["f1"],
        }  # fmt: skip
        counts = counts.assign(dataset=event.dataset.name, area=event.area, block=counts.index)
        rows.append({**about, **{name: scores[name] for name in _SCORES}, "run": event.run, "counts": counts})
    table = score_table(rows, ["event"]) if rows else pd.DataFrame(columns=["event"]).set_index("event")
    return table.reindex(columns=_COLUMNS)


NO_LABELS = "no event with labels has a landslide."


def _share(count: float, total: float) -> tuple[str, float, float]:
    """Return a proportion in words with its 95 % interval (Wilson), and the interval: 0 to 1 of too few."""
    if total < intervals.LEAST:
        return f"{count:.0f}", 0.0, 1.0
    low, high = stats.binomtest(round(count), round(total)).proportion_ci(method="wilson")
    return f"{count / total:.0%} (95 % from {low:.0%} to {high:.0%})", low, high


def found_shares(table: pd.DataFrame) -> str:
    """Say how much of the events is mapped, and how much is landslide (`events_table`)."""
    if (rows := table.dropna(subset="f1")).empty:
        return NO_LABELS
    mapped, true = rows["mapped_share"], rows["prevalence"]
    more = f"more than twice as much is mapped as is landslide at {(mapped > 2 * true).sum()} of them"
    told = f"{findings.span(mapped, '.0%')} of the ground is mapped, {findings.span(true, '.0%')} is landslide"
    return f"at {findings.format_count(len(rows), 'event')}, {told}; {more} (maps of the first seed)."


def found_scores(table: pd.DataFrame) -> str:
    """Say where the network beats the best threshold on one index, and chance (`events_table`)."""
    rows, said = table.dropna(subset="f1"), []
    for _, row in rows.iterrows():
        f1, index_f1 = intervals.Interval(*row[["f1", "f1_low", "f1_high"]]), row["index_f1"]
        place = "above" if f1.low > index_f1 else "below" if f1.high < index_f1 else "not clearly above or below"
        said.append(f"{row['event']} {f1.describe('.2f')}, {place} the {index_f1:.2f} of that threshold")
    known, detected, chance = (rows[name].sum() for name in ("landslides", "landslides_detected", "by_chance"))
    if not known:
        return NO_LABELS
    share, low, high = _share(detected, known)
    most = False if high <= 0.5 else True if low > 0.5 >= chance / known else None
    few, many = rows["seeds"].agg(["min", "max"]).astype(int)  # the interval says nothing of seeds
    seeds = f"{few} to {many} seeds" if few < many else findings.format_count(many, "seed")
    mapped, false = rows[["mapped", "mapped_false"]].sum()  # mean of the seeds
    return (
        f"the F1 of the network beside the best threshold on one index: {'; '.join(said)}. Of {known:.0f} landslides "
        f"{share} are detected (mean of {seeds}; the interval is over landslides), {chance / known:.0%} by these maps "
        f"at random places. Of {mapped:.0f} mapped objects, {false:.0f} are false."
        f"{findings.claim('most landslides are identified', most if few > 1 else None)} It leaves out false alarms."
    )


def found_curves(table: pd.DataFrame) -> str:
    """Compare average precision with prevalence and thresholds with 0.5; say how far probabilities are off."""
    if (rows := table.dropna(subset="f1")).empty:
        return NO_LABELS
    ratio, better = rows["average_precision"] / rows["prevalence"], (rows["f1"] > rows["f1_at_half"]).sum()
    return (
        f"in maps of the first seed, average precision is {findings.span(ratio, '.1f')} times the share of landslide, "
        f"which chance reaches; the threshold of validation, {findings.span(rows['threshold'], '.2f')}, beats 0.5 at "
        f"{better} of {len(rows)}; the expected calibration error is {findings.span(rows['calibration_error'], '.2f')}."
    )


def found_sizes(table: pd.DataFrame) -> str:
    """Compare the smallest and the largest class with enough landslides; say how many objects are false (`by_size`)."""
    mapped, false = table["mapped"].sum(), table["mapped_false"].sum()
    wrong = f" Of {mapped:.0f} mapped objects {_share(false, mapped)[0]} are false (first seed)." if mapped else ""
    table = table[table["landslides"] > 0].sort_values("from_m2")
    if len(rows := table[table["landslides"] >= intervals.LEAST]) < 2:
        return f"fewer than two classes of size have {intervals.LEAST} landslides: too few to compare.{wrong}"
    n, found = table["landslides"].astype(int), table["detected"].astype(int)
    hits = np.concatenate([np.arange(k) < hit for k, hit in zip(n, found, strict=True)])  # each landslide of a class
    tau, p = stats.kendalltau(np.repeat(np.arange(len(table)), n), hits)
    said = [
        f"of {row['landslides']:.0f} landslides of {row['area_m2']} m² {_share(row['detected'], row['landslides'])[0]} "
        f"are detected, {row['chance_rate']:.0%} by chance"
        for _, row in rows.iloc[[0, -1]].iterrows()
    ]
    grows = "grows" if p < 0.05 and tau > 0 else "does not clearly grow"
    trend = f"all {len(table)} classes, Kendall's tau {tau:.2f}, p {p:.2g}; maps of the first seed"
    return f"{'; '.join(said)}. Detection {grows} with size ({trend}).{wrong}"


register(Experiment(
    name="unseen", number=5, title="unseen events", settings=Unseen, specs=specs, afterwards=score_all,
    findings={
        "fig16_maps": found_shares, "unseen_scores": found_scores, "unseen_curves": found_curves,
        "unseen_by_size": found_sizes,
    },
))  # fmt: skip
