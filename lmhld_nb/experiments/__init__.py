"""Experiments: one file each, which ends with `register`; imported here in the order of plans and tables."""

from lmhld_nb.experiments import patch_size, single, mix, part, unseen, recipe, beyond, leave_one_out  # noqa: I001 (their order)
from lmhld_nb.experiments.profile import Profile, load
from lmhld_nb.experiments.registry import EXPERIMENTS, Experiment, experiment_named, register
from lmhld_nb.experiments.study import Study, open_study

__all__ = ["EXPERIMENTS", "Experiment", "Profile", "Study", "beyond", "experiment_named", "leave_one_out", "load"]
__all__ += ["mix", "open_study", "part", "patch_size", "recipe", "register", "single", "unseen"]
