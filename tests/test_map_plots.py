from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made import blobs
from matplotlib.colors import to_rgb

from lmhld_nb import detection, map_plots
from lmhld_nb.map_plots import Panel
from lmhld_nb.ranking import Ranked
from lmhld_nb.style import FALSE_ALARM, HIT, MISS

NOTE = "made data (synthetic data, no satellite image) · profile tests"


@pytest.fixture(autouse=True)
def drawn() -> Iterator[None]:
    """Draw every figure of a test: some mistakes show only then; warnings are errors."""
    yield
    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.canvas.draw()
        assert NOTE in figure.get_supxlabel().replace("\n", " ")
        assert figure.get_figwidth() <= 6, "letters become too small on a phone"
        plt.close(figure)


@pytest.fixture(scope="module")
def made():
    """Return the name and (probability, mask, truth) of two maps, one good and one poor."""
    maps = {}
    for name, noise in (("good", 0.3), ("poor", 1.2)):
        truth = blobs(120, 150, 20, seed=3)
        logit = 3 * truth - 1.5 + np.random.default_rng(0).normal(0, noise, truth.shape)
        probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
        maps[name] = probability, (probability >= 0.5).astype(np.uint8), truth.astype(np.uint8)
    return maps


def ranked(made):
    return {name: Ranked.of(probability, truth) for name, (probability, _, truth) in made.items()}


def scored(made):
    return {name: detection.score(lambda arrays=arrays: iter([arrays]), 9.0) for name, arrays in made.items()}


def panel(made, **more):
    probability, mask, truth = made["poor"]
    return Panel("somewhere", np.repeat(probability[..., None], 3, axis=2) * 0.5, mask, truth, 3.0, **more)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_precision_and_recall_pass_through_the_marked_threshold(made):
    curves = ranked(made)
    figure = map_plots.precision_recall(curves, NOTE, threshold=0.6)
    lines = figure.axes[0].lines
    for (name, counts), line, mark in zip(curves.items(), lines[::2], lines[1::2], strict=True):
        at = counts.confusion(0.6)
        assert mark.get_xydata()[0].tolist() == [at.recall, at.precision]
        assert [at.recall, at.precision] in line.get_xydata().tolist()
        assert f"{name}: AP {counts.average_precision:.2f}" in legend(figure)
    assert "threshold 0.6" in figure.get_supxlabel()


def test_reliability_shows_bins_and_their_pixels(made):
    curves = ranked(made)
    above, below = map_plots.reliability(curves, NOTE, bins=5).axes
    for counts, line, pixels in zip(curves.values(), above.lines[1:], below.lines, strict=True):
        table = counts.reliability(5)
        assert line.get_ydata().tolist() == table["observed_share"].tolist()
        assert pixels.get_ydata().tolist() == table["pixels"].tolist()
    assert above.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]


def test_each_class_has_its_rate_and_its_count(made):
    tables = {name: tables["by_size"] for name, (_, tables) in scored(made).items()}
    tables["other"] = tables["good"].iloc[1:]
    figure = map_plots.detection_by_size(tables, NOTE)
    above, below = figure.axes
    for table, line in zip(tables.values(), above.lines, strict=False):
        shown = table[table["landslides"] > 0]
        assert line.get_ydata().tolist() == shown["detection_rate"].tolist()
    ticks = [text.get_text() for text in below.get_xticklabels()]
    assert ticks == list(tables["good"].query("landslides > 0")["area_m2"])
    # The first class is missing in the last table: its marks stand beside those of the same class.
    assert above.lines[2].get_xdata().round().tolist() == list(range(1, len(ticks)))
    assert sum(bar.get_height() for bar in below.patches) == sum(
        t["landslides"].sum() for t in tables.values()
    )


def test_places_without_landslides_leave_the_figure_empty(made):
    truth = np.zeros((9, 9), np.uint8)
    _, tables = detection.score(lambda: iter([(truth.astype(np.float32), truth, truth)]), 9.0)
    map_plots.detection_by_size({"bare": tables["by_size"]}, NOTE)
    counts = Ranked.of(truth.astype(np.float32), truth)
    map_plots.precision_recall({"bare": counts}, NOTE)
    map_plots.reliability({"bare": counts}, NOTE)


def test_both_inventories_are_drawn(made):
    table = scored(made)["poor"][1]["size_frequency"]
    parts = [table[table["inventory"] == name] for name in ("true", "mapped")]
    (ax,) = map_plots.size_frequency(*parts, NOTE).axes
    for part, line in zip(parts, ax.lines, strict=True):
        assert line.get_ydata().tolist() == part["density"].tolist()
    assert ax.get_xscale() == ax.get_yscale() == "log"
    map_plots.size_frequency(parts[0], detection.size_frequency(np.zeros(0)), NOTE)


def test_pictures_have_letters_and_a_round_scale_bar(made):
    figure = map_plots.images([panel(made)] * 28, NOTE, columns=4)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0] == "(a) somewhere"
    assert titles[27] == "(ab) somewhere"
    (bar,) = figure.axes[0].lines
    assert np.ptp(bar.get_xdata()) * 3.0 == pytest.approx(100)
    assert [text.get_text() for text in figure.axes[0].texts] == ["100 m"]
    single = map_plots.images([panel(made)], NOTE)
    assert single.axes[0].get_title(loc="left") == "somewhere"


@pytest.mark.parametrize(("pixel_m", "told"), [(0.5, "20 m"), (1.2, "50 m"), (100, "2 km"), (None, None)])
def test_scale_bars_are_labelled_in_round_lengths(pixel_m, told):
    figure = map_plots.images([Panel("x", np.zeros((50, 150, 3)), pixel_m=pixel_m)], NOTE)
    assert [text.get_text() for text in figure.axes[0].texts] == ([told] if told else [])


def test_mapped_pixels_are_red_and_the_truth_is_outlined(made):
    shown = panel(made)
    figure = map_plots.overlays([shown], NOTE)
    picture = figure.axes[0].images[0].get_array()
    red = picture[shown.mapped == 1]
    assert (red[:, 0] - red[:, 1:].max(axis=1)).min() > 0.5
    assert np.ptp(picture[shown.mapped == 0], axis=1).max() == 0  # the made image is grey
    assert legend(figure) == ["mapped landslide", "true landslide"]
    blind = map_plots.overlays([Panel("x", shown.image, shown.mapped)], NOTE)
    assert legend(blind) == ["mapped landslide"]


def test_errors_are_coloured_and_what_is_not_labelled_is_none(made):
    mapped, truth = np.array([[1, 1, 0, 0, 1, 255]]), np.array([[1, 0, 1, 0, 255, 1]])
    figure = map_plots.errors(
        [Panel("false, 9 m²", np.zeros((1, 6, 3)), mapped, truth, box=(0, 1, 1, 2))], NOTE
    )
    cells = np.asarray(figure.axes[1].images[0].get_array()[0])
    expected = [*(to_rgb(tint) for tint in (HIT, FALSE_ALARM, MISS)), *[(0.4,) * 3] * 3]
    assert cells == pytest.approx(np.array(expected))
    assert all(len(ax.patches) == 1 for ax in figure.axes)
    assert figure.axes[0].get_xlim() == (-0.5, 5.5)


def test_close_ups_become_panels(made):
    _, mask, truth = made["poor"]
    tables = detection.landslides(lambda: iter([made["poor"]]))
    panels = []
    for place in detection.close_ups(*tables, truth.shape, count=1, side=40):
        window = place.window
        part = np.s_[window.row : window.row + window.height, window.col : window.col + window.width]
        panels.append(Panel(place.kind, np.ones((40, 40, 3)), mask[part], truth[part], box=place.box))
    assert panels
    assert len(map_plots.errors(panels, NOTE).axes) == 2 * len(panels)


@pytest.mark.parametrize("draw", [map_plots.overlays, map_plots.errors])
def test_a_mask_of_another_shape_is_refused(draw):
    for mask in (None, np.zeros((4, 4), bool)):
        with pytest.raises(ValueError, match="'x': mapped"):
            draw([Panel("x", np.zeros((5, 5, 3)), mask, mask)], NOTE)
    plt.close("all")


def test_tables_survive_a_csv(made, tmp_path):
    for name, table in scored(made)["poor"][1].items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{name}.csv"), table, check_dtype=False)
