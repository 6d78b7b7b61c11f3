"""Leave one area out: what a network that has learnt all other areas finds in it (chapter 11; the paper has no such test)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb import runs
from lmhld_nb.config import Strict, UserError
from lmhld_nb.evaluation import intervals
from lmhld_nb.experiments import mix, part, single
from lmhld_nb.experiments.profile import ModelName, Seeds
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec


class LeaveOneOut(Strict):
    """Areas left out, one at a time (empty for all), the network and its seeds."""

    areas: tuple[str, ...] = ()
    model: ModelName = "unet"
    seeds: Seeds = (0, 1, 2)


def without(study: Study) -> dict[str, list[RunSpec]]:
    """Return the trainings on all areas but one, each at its own patch size, by the area that is left out.

    UserError where there are fewer than two areas.
    """
    if len(study.areas) < 2:
        mend = "name more `areas`, or leave leave_one_out out of `experiments`"
        raise UserError(f"profile '{study.profile.name}': one area alone cannot be left out; {mend}")
    settings = study.settings("leave_one_out")
    return {
        area: part.jointly(study, [other for other in study.areas if other != area], settings.model, settings.seeds)
        for area in study.areas_of("leave_one_out")
    }


def specs(study: Study) -> list[RunSpec]:
    """Return all trainings of `without`."""
    return [spec for group in without(study).values() for spec in group]


def table(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate, on the test patches of each area, networks that have not learnt it and networks that have.

    Rows by area: of those trained without it, the columns of `tables.score_table`; ``single_f1`` of the network trained
    on that area alone (the same test patches) and ``gap``, F1 without it minus that, with its interval over patches
    (gap_low, gap_high), mean over the seeds that both have; ``mix_f1`` of LMHLD_mix on the same area, whose test patches
    have another size. NaN where these are not finished. run_ids.
    """
