"""Cut the patches that the missing runs of a profile are trained on (called by the Snakefile before its jobs)."""

import sys

from lmhld_nb import config, runs
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles


def main(name: str) -> int:
    """Cut them; a run whose patches cannot be cut does not hold up the others; its own job says why."""
    profile = profiles.load(name)
    for entry in plans.plan(profile, experiments.dataset_of(profile)):
        if runs.status(entry.spec, entry.with_whole_area) != "done":
            try:
                runs.patch_sets(entry.spec)
            except config.UserError as error:
                print(f"prepare: {entry.spec.run_id}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
