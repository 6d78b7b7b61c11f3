"""Cut the patches that the missing runs of a profile are trained on (the Snakefile calls this before its jobs)."""

import sys

from lmhld_nb import experiments, runs
from lmhld_nb.config import UserError
from lmhld_nb.experiments.plan import plan

for entry in plan(experiments.open_study(experiments.load(sys.argv[1]))):
    try:
        if runs.status(entry.spec, entry.whole_area) != "done":
            runs.patch_sets(entry.spec)
    except UserError as error:  # it does not hold up the other runs, and its own job says it too
        print(f"prepare: {entry.spec.run_id}: {error}", file=sys.stderr)
