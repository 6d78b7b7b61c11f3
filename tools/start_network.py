"""Make the network to begin with, lmhld_nb/mapping/start/; for maintainers.

    python tools/start_network.py

Reads the finished runs of the profile `real` (`lmhld run real --experiment single`), `real-areas` and `real-unseen`.
Two U-Nets vote, each of which has learnt one area of Landslide4Sense: of the real areas only these are under a licence
that lets a network of them be given away. Their threshold is that of the best F1 on validation pictures of both areas.
Every other area is mapped whole, each scene by its own statistics and at its own resolution, as `lmhld map` does, and
scored: what the card says of ground that neither has seen. Beside it stand the best threshold on one index, found on
the very ground that it is scored on, and calling everything landslide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lmhld_nb import experiments, scenes
from lmhld_nb.config import UserError, write_json
from lmhld_nb.evaluation import Confusion, best_threshold, scores
from lmhld_nb.evaluation.ranking import STEPS, Ranked
from lmhld_nb.experiments.study import open_dataset
from lmhld_nb.mapping import prediction, start
from lmhld_nb.mapping.prediction import Network
from lmhld_nb.runs import Run
from lmhld_nb.scenes import Scene
from lmhld_nb.training import weights as networks

BANDS = ("red", "green", "blue")
AREAS = ("l4s_taiwan", "l4s_iburi")
SAME_EVENT = ("hokkaido",)  # the landslides of Iburi, by another sensor: not ground that was never seen
LICENCE = (
    "Trained on Landslide4Sense, MIT licence, (c) 2022 IARAI; cite Ghorbanzadeh et al. 2022, IEEE TGRS 60. "
    "The network is under the licence of this book."
)
INDEX_PIXELS = 4_000_000  # of an area, about, that the best threshold on one index is looked for in


def mapped(network: Network, size: int, chosen: list[Scene]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, of each scene, values (bands, rows, cols), labels (255 not known) and probabilities (rows, cols)."""
    for scene in chosen:
        values, labels, valid = scenes.read_all(scene, BANDS)
        with scenes.open_image(scene) as image:
            yield values, np.where(valid, labels, 255), prediction.whole(image, BANDS, network, size)


def judged(network: Network, size: int, chosen: list[Scene], threshold: float) -> dict[str, Any]:
    """Score all scenes of an area together."""
    counts, step, parts = Confusion(0, 0, 0, 0), 1, []
    for values, labels, probability in mapped(network, size, chosen):
        counts += Confusion.of(probability >= threshold, labels == 1, labels != 255)
        step = max(1, round((labels.size * len(chosen) / INDEX_PIXELS) ** 0.5))
        part = values[:, ::step, ::step], labels[::step, ::step]
        parts.append((part[0].reshape(len(BANDS), 1, -1), part[1].reshape(1, -1)))
    images, masks = (np.concatenate(part, axis=-1)[None] for part in zip(*parts, strict=True))
    rule = best_threshold(images, masks, BANDS)
    everything = Confusion(counts.tp + counts.fn, counts.fp + counts.tn, 0, 0)
    return {
        **{name: round(value, 4) for name, value in scores(counts).items() if name in ("f1", "precision", "recall")},
        **{"index_f1": round(rule.confusion.f1, 4), "index": rule.feature},
        **{"all_landslide_f1": round(everything.f1, 4), "resolution_m": chosen[0].resolution_m, "scenes": len(chosen)},
    }


def members(study: experiments.Study) -> list[tuple[Run, torch.nn.Module, dict[str, Any]]]:
    """Return the networks, their runs and cards; UserError where one is missing."""
    found = []
    for area in AREAS:
        runs = study.finished(study.trainings((study.patch_spec(area),), ("unet",), (0,)))
        if not runs:
            raise UserError(f"real: no finished U-Net of {area}; make it with `lmhld run real --experiment single`")
        found.append((runs[0], *networks.load(runs[0].weights_file)))
    return found


def main() -> None:
    """Make the network, score it, and write it with its card."""
    study = experiments.open_study(experiments.load("real"), progress=False)
    voting = members(study)
    cards = [card for _, _, card in voting]
    size = max(area["patch_size"] for card in cards for area in card["areas"].values())
    weighed = [(model, networks.members_of(model, card)[0][1] | {"weight": 0.5}) for _, model, card in voting]
    network = Network(networks.Ensemble([model for model, _ in weighed], [0.5, 0.5]).eval(), torch.device("cpu"))
    own = [scene for area in AREAS for scene in study.dataset.scenes_of(area)]
    ranked = Ranked.of(np.empty(0), np.empty(0))
    for _, labels, probability in mapped(network, size, [scene for scene in own if scene.split == "val"]):
        ranked += Ranked.of(probability, labels == 1, (labels != 255) & (probability >= 0))
    threshold = float(np.clip(ranked.best()[0], 1 / STEPS, 1 - 1 / STEPS))
    unseen, rows = open_dataset("real-unseen"), {}
    for dataset in (study.dataset, unseen):
        for area in dataset.areas:
            chosen = [scene for scene in dataset.scenes_of(area) if area not in AREAS or scene.split == "test"]
            rows[area] = judged(network, size, chosen, threshold)
            rows[area]["seen"] = "test pictures" if area in AREAS else "same event" if area in SAME_EVENT else "never"
            print(area, rows[area], flush=True)
    areas = {name: area for card in cards for name, area in card["areas"].items()}
    card = {
        "run_id": "-".join(run.spec.run_id for run, _, _ in voting),
        **{name: cards[0][name] for name in ("model", "width", "bands", "normalise", "precision")},
        **{"threshold": threshold, "areas": areas, "trained_on": list(AREAS), "licence": LICENCE, "scores": rows},
    }
    start.FILE.parent.mkdir(exist_ok=True)
    networks.save_members(start.FILE, weighed, card)
    write_json(start.FILE.with_suffix(".json"), card)
    print(f"{start.FILE}: {start.FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
