"""Comparison: how far several networks see, what they cost and how long they take, in tables to be read."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lmhld_nb import models
from lmhld_nb.anatomy.architecture import SIZES, Reach, empty, receptive_field

WIDTH = 8
"""Channels of the first level in networks whose receptive field is measured: narrow ones see as far as wide ones."""


def receptive_fields(names: Sequence[str], draws: int = 2) -> dict[str, Reach]:
    """Measure how far networks see (`receptive_field`), by name; those whose width cannot be chosen as they are."""
    widths = {name: WIDTH if models.takes_width(models.network(name)) else None for name in names}
    return {name: receptive_field(name, width, draws=draws) for name, width in widths.items()}


def side_by_side(published: pd.DataFrame, own: pd.DataFrame, title: str, reaches: Mapping[str, Reach]) -> pd.DataFrame:
    """Return, as text to read, what networks cost at two widths and how far they see, one column per network.

    ``published`` and ``own`` are of `architecture.table`, at the published widths and at others (called ``title``);
    ``reaches`` has the order of the tables. Layers are modules without parts.
    """
    first, second = _readable(published), _readable(own)
    first["sees (px)"] = ["all" if reach.whole else reach.extent for reach in reaches.values()]
    first[f"95 % within (px), {WIDTH} channels, random"] = [reach.effective for reach in reaches.values()]
    second["layers"] = [sum(not list(module.children()) for module in empty(name).modules()) for name in reaches]
    table = pd.concat({"published": first, title: second}, axis=1).T
    table = table.rename(columns={name: models.network(name).title for name in reaches})
    return table.map(lambda value: value if isinstance(value, str) else f"{value:.4g}")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    macs = {f"MACs at {size} px (G)": table[f"macs_{size}"] / 1e9 for size in SIZES}
    return pd.DataFrame({"parameters (M)": table["parameters"] / 1e6, **macs})
