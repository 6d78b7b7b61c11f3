"""The face: what chapters open, the tables it computes and saves, the captions it writes, names for reading."""

import json
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from conftest import QUIET
from made import refuses

import lmhld_nb as lm
from lmhld_nb import runs, seals
from lmhld_nb.book import face
from lmhld_nb.experiments import EXPERIMENTS, single
from lmhld_nb.plots import style


@pytest.mark.parametrize("areas", [["gorkha"], "gorkha", " gorkha, "])
def test_a_book_is_opened_whole_or_narrowed(tiny, areas):
    whole, narrowed = lm.open(str(tiny), [], ""), lm.open(str(tiny), "unet", areas)
    assert (whole.name, whole.models, whole.areas) == ("tiny", ("unet",), ("emilia_romagna", "gorkha"))
    assert whole.bands == ("blue", "green", "red", "nir")
    assert (narrowed.name, narrowed.models, narrowed.areas) == ("tiny-part", ("unet",), ("gorkha",))
    assert narrowed.figures != whole.figures, "figures of a part do not replace those of the whole"
    assert [entry.areas for entry in narrowed.plan()] == [("gorkha",)]
    refuses("key 'areas': no area 'atlantis'", lm.open, str(tiny), areas="atlantis")


def test_under_plain_papermill_a_foreign_parameter_is_refused(tiny, monkeypatch):
    cells = ["", "profile: str = 'tiny'\narea: str = 'gorkha'", "import lmhld_nb as lm", "x = (1 +"]
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={"In": cells}))
    cells.insert(2, "# Parameters\narea = 'rio'\n")
    lm.open(str(tiny))
    cells[2] += "profle = 'mini'\n"
    refuses("no parameter 'profle'; the chapter has area, profile", lm.open, str(tiny))


def test_tables_are_computed_from_finished_runs_and_saved(book):
    refuses("table5: none of its runs is finished; make them with `lmhld run tiny`", book.table, 5)
    refuses("profile 'tiny' has no table 'table6'; it has table5", book.table, 6)
    refuses("does not include the experiment 'mix', only single", book.runs, "mix")
    runs.make_run(single.specs(book)[1], QUIET)
    (run,) = book.runs("single", "skip")
    table = book.table(5)
    assert table.index.tolist() == [("gorkha", "unet")] and table["run_ids"].tolist() == [run.spec.run_id]
    assert book.runs("2", "skip") == book.runs(2, "skip") == [run]
    saved = pd.read_csv(book.figures / "table5.csv", index_col=["area", "model"])
    pd.testing.assert_frame_equal(saved, table, rtol=1e-5, check_dtype=False)
    shown = lm.tidy(table)
    assert shown.index.tolist() == [("Gorkha", "U-Net")]
    assert list(shown)[:5] == ["F1", "published F1", "precision", "recall", "patches (*: fewer than 10)"]
    assert "F1 s.d." not in shown and shown["seeds"].tolist() == ["1"], "of one seed there is no deviation"
    gap = pd.DataFrame({"f1": [0.5, None], "steps": [1200, 3]}, pd.Index(["unet", "unet_3p"], name="model"))
    assert lm.tidy(gap).to_numpy().tolist() == [["0.500", "1,200"], ["—", "3"]]
    assert "run ids" not in shown and shown["F1"].iloc[0] == f"{table['f1'].iloc[0]:.3f}*"


def test_a_figure_is_shown_with_its_caption_and_saved_with_its_numbers(book):
    def draw() -> plt.Figure:
        return style.counted(plt.subplots(figsize=(9, 3))[0], "2 areas", "bar: mean")

    numbers = pd.DataFrame({"f1": [0.5]}, index=pd.Index(["gorkha"], name="area"))
    figure = book.show(draw(), "scores", numbers, about="test patches", published="Table 5")
    below = " ".join(figure.get_supxlabel().split())
    assert below.startswith("test patches · this book: ") and below.endswith("bar: mean · n = 2 areas")
    assert "(synthetic data, no satellite image) · profile tiny · published: the real LMHLD, paper Table 5" in below
    assert sorted(path.name for path in book.figures.iterdir()) == ["scores.csv", "scores.png"]
    assert pd.read_csv(book.figures / "scores.csv", index_col="area").equals(numbers)
    assert not plt.fignum_exists(figure.number), "closed: the chapter shows what is returned"
    assert book.show(draw(), "scheme", caption="").get_supxlabel() == "bar: mean · n = 2 areas"
    assert book.show(plt.subplots()[0], "bare", caption="Fig 2 of the paper").get_supxlabel() == "Fig 2 of the paper"


def test_scores_that_say_little_and_runs_that_are_not_portable_are_marked(book, tiny):
    assert "converged" not in book.caption()
    runs.make_run(single.specs(book)[1], QUIET)
    table = book.table(5)
    assert table["patches"].iloc[0] < 10 and not table["converged"].any()
    assert book.caption().endswith("1 of 1 trainings not converged · fewer than 10 test patches: Gorkha")
    assert book.caption(run_ids=["0" * 16]) == book.caption().partition(" · 1 of 1")[0], "of the figure's own runs"
    assert book.save(table[["run_ids"]], "other")["converged"].tolist() == [0], "in every table that names runs"
    assert lm.tidy(table.assign(patches=10))["F1"].iloc[0] == f"{table['f1'].iloc[0]:.3f}"
    drawn = lm.plots.scores.score_heatmap(table, {"f1": "ours", "published_f1": "published"}, "area")
    assert [text.get_text()[4:] for ax in drawn.axes for text in ax.texts] == ["*", ""]
    assert "*: fewer than 10 test patches; seeds: 1 per network" in " ".join(drawn.get_supxlabel().split())
    tiny.write_text(tiny.read_text() + "portable: true\n")
    book = lm.open(str(tiny))
    run = runs.make_run(single.specs(book)[1], QUIET)
    assert run.metrics["portable"] == "yes" and book.runs("single", "skip") and "portable" not in book.caption()
    metrics = {**run.metrics, "portable": "no: computed on a GPU"}
    metrics["seal"] = seals.seal_of(metrics)
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    book.runs("single", "skip")
    assert book.caption().endswith("not portable, other digits elsewhere (no: computed on a GPU)")


def test_the_module_offers_its_packages_and_nothing_else():
    assert {"open", "Book", "tidy", "exercise", "plots", "paper", "experiments"} <= set(dir(lm))
    assert lm.plots.style is style and lm.experiments.single is single
    with pytest.raises(AttributeError, match="'lmhld_nb' has no attribute 'nosuch'"):
        _ = lm.nosuch


def test_what_was_found_is_said_of_this_book_and_of_the_published_real_areas(book, tmp_path, monkeypatch, capsys):
    said = replace(EXPERIMENTS["single"], findings={"table5": lambda table: f"best {table['f1'].max()} {list(table)}."})
    monkeypatch.setitem(EXPERIMENTS, "single", said)
    monkeypatch.setattr(face, "REAL", tmp_path)
    keys = pd.MultiIndex.from_tuples([("gorkha", "unet")], names=["area", "model"])
    table = pd.DataFrame({"f1": [0.5]}, keys)
    assert book.real("table5") is None
    book.found("table5", table)
    assert capsys.readouterr().out.count("What we found") == 1, "nothing of real areas where none are published"
    (table + 0.25).to_csv(tmp_path / "table5.csv")
    published = book.real("table5")
    assert published is not None and published.index.equals(keys)
    book.found("table5", table)
    own, real = capsys.readouterr().out.replace("\n", " ").split("What we found, ")[1:]
    assert own.startswith("synthetic data (profile tiny): best 0.5 ['area', 'mod")
    assert real == "real areas (profile real): best 0.75 ['area', 'model', 'f1']. "
    book.found("table5", None)
    assert "nothing yet; not all runs that it compares are finished" in capsys.readouterr().out
    refuses("'table9': nothing is found from a table of this name; choose from ", book.found, "table9", table)
    of_real_data = replace(book, dataset=replace(book.dataset, synthetic=False))
    assert of_real_data.real("table5") is None, "a book of real data needs no other beside it"
