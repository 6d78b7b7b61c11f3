"""What readers may add to the book, one entry each: an example of a module that `extensions:` of a profile names."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmhld_nb.config import Strict
from lmhld_nb.evaluation import METRICS, Metric, ratio
from lmhld_nb.experiments import Experiment, Study, register
from lmhld_nb.experiments.tables import score_table, tested
from lmhld_nb.runs import Run
from lmhld_nb.training.losses import LOSSES, Loss
from lmhld_nb.training.specs import RunSpec


def build_thin_net(bands: int) -> nn.Module:
    """Return a network of two convolutions, for a profile to name as ``extension_example:build_thin_net``."""
    return nn.Sequential(nn.Conv2d(bands, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))


def focal(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the focal loss (Lin et al. 2017) with gamma 2."""
    bce = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return ((1 - torch.exp(-bce)) ** 2 * bce).mean()


LOSSES["focal"] = Loss(focal)

METRICS["iou"] = Metric("iou", "IoU", lambda counts: ratio(counts.tp, counts.tp + counts.fp + counts.fn))


class Augmented(Strict):
    """Settings of the experiment of one's own: the area that networks are trained on with flips and turns."""

    area: str


def augmented_specs(study: Study) -> list[RunSpec]:
    """Return the training of each network on the area, with augmentation."""
    return study.trainings((study.patch_spec(study.settings("augmented").area),), augment=True)


def augmented_table(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate the scores by network."""
    return score_table(tested(finished), ["model"])


register(Experiment(
    name="augmented", title="flips and turns", settings=Augmented, specs=augmented_specs,
    tables={"augmented": augmented_table}, used_areas=("area",),
))  # fmt: skip
