"""What the tables of all experiments share; a column ``run_ids`` names the runs that a row is computed from."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lmhld_nb import paper, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import METRICS, Confusion, scores
from lmhld_nb.runs import Run


def run_scores(run: Run, counts: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Return the scores of a run on its test patches, or of other counts that its metrics.json holds."""
    return scores(Confusion.from_dict(run.metrics["test"] if counts is None else counts))


def mean_over_seeds(rows: Sequence[Mapping[str, Any]], keys: list[str]) -> pd.DataFrame:
    """Return the mean of numeric columns over rows that share ``keys`` (seeds, mostly), and the ids of their runs."""
    if not rows:
        raise UserError("none of the runs that this table needs is finished; make them with `lmhld run`")
    groups = pd.DataFrame(rows).groupby(keys, sort=False)
    return groups.mean(numeric_only=True).join(groups["run_ids"].agg("+".join))


def has_published_areas(dataset: str) -> bool:
    """Say whether a data set's areas are the paper's: LMHLD itself and its twin, not others of the same region."""
    return dataset == "lmhld" or sources.describe(dataset).synthetic


def published_areas(dataset: str) -> pd.DataFrame:
    """Return what the paper says of the areas of a data set (`paper.areas`); no rows where they are not the paper's."""
    areas = paper.areas()
    return areas if has_published_areas(dataset) else areas.iloc[:0]


def beside_published(
    rows: Sequence[Mapping[str, Any]], keys: list[str], published: pd.DataFrame, finished: Sequence[Run]
) -> pd.DataFrame:
    """Return mean scores over seeds of ``rows`` with the published ones and the differences.

    Rows that share ``keys`` are averaged; ``published`` is of `paper.table`, with ``keys`` and scores, of which none
    count where the ``finished`` runs have other areas than the paper's. Beside the scores are ``published_…`` and
    ``difference_…`` (ours minus published), NaN where nothing is published, and run_ids.
    """
    ours = mean_over_seeds(rows, keys)
    if not all(has_published_areas(spec.dataset) for run in finished for spec in run.spec.data):
        published = published.iloc[:0]  # another data set's "hokkaido" is not the paper's
    printed = {name: key for key, name in paper.MODELS.items()}
    published = published.assign(model=published["model"].map(printed)).set_index(keys)
    common = [name for name in METRICS if name in published]
    run_ids = ours.pop("run_ids")
    table = ours.join(published[common].add_prefix("published_"))
    for name in common:
        table[f"difference_{name}"] = table[name] - table[f"published_{name}"]
    return table.join(run_ids)


def join_ids(run_ids: Sequence[str]) -> str:
    """Return ids, each once, as a table's column ``run_ids`` holds them; entries may be joined already."""
    return "+".join(dict.fromkeys("+".join(run_ids).split("+")))
