"""One style everywhere, figures say n, and no chapter draws by itself."""

import ast
import re

import jupytext
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lmhld_nb import paper
from lmhld_nb.book import chapters as book
from lmhld_nb.config import ROOT
from lmhld_nb.plots import style

PATHS = [path for folder in ("plots", "anatomy") for path in sorted((ROOT / "lmhld_nb" / folder).glob("*.py"))]
DRAWING = [path for path in PATHS if "-> Figure" in path.read_text(encoding="utf-8") and path.stem != "style"]


def figure_functions():
    for path in DRAWING:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or node) == "Figure":
                yield node


@pytest.mark.parametrize("node", list(figure_functions()), ids=lambda node: node.name)
def test_a_figure_says_n_and_leaves_the_caption_to_whoever_shows_it(node):
    ends = [ast.unparse(part.value) for part in node.body if isinstance(part, ast.Return) and part.value]
    assert len(ends) == 1 and ends[0].startswith("style.counted(figure, "), "end in `style.counted`"
    assert not {argument.arg for argument in node.args.args} & {"note", "caption"}


def test_the_line_below_a_figure():
    figure = plt.figure(figsize=(4, 2))
    style.counted(figure, style.format_count(1, "patch"), "dashed: quartiles")
    assert figure.get_supxlabel() == "dashed: quartiles · n = 1 patch"
    style.add_caption(figure, "a data set · profile smoke")
    style.add_caption(figure, "paper Table 5, a longer line than fits")
    text = figure.get_supxlabel()
    assert " ".join(text.split()).endswith("fits · a data set · profile smoke · dashed: quartiles · n = 1 patch")
    assert len(text.splitlines()) == 2 and max(map(len, text.splitlines())) <= 18.5 * 4
    plt.close(figure)
    table = pd.DataFrame({"seeds": [3, 1, 3]}, index=pd.Index(["unet", "res_unet", "unet_pp"], name="model"))
    assert style.by_network(table, "seeds") == "seeds: 3 (U-Net, U-Net++), 1 (Res U-Net)"
    assert [style.format_count(n, "patch") for n in (0, 1200)] == ["0 patches", "1,200 patches"]


def test_figures_are_drawn_in_the_package():
    for cell in [cell for path in book.chapters() for cell in jupytext.read(path).cells]:
        assert cell.cell_type != "code" or not re.search(r"plt\.|\.figure\(", cell.source)


def test_a_name_has_its_colour_in_whatever_company():
    together = style.area_colours(paper.AREAS)
    assert tuple(together) == paper.AREAS and len(set(together.values())) == len(together)
    for names in (["else", "rio"], ["rio"], paper.AREAS[::-1]):
        assert style.area_colours(names)["rio"] == together["rio"]
