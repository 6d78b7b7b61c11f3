"""The synthetic twin and its events: inventories, geometry, files, determinism; thresholds do not solve them."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from made import blobs, refuses
from rasterio import features
from scipy import ndimage

import lmhld_nb
from lmhld_nb import config, paper, sources, twin
from lmhld_nb.evaluation.counts import best_threshold
from lmhld_nb.patches.patch_sets import PatchSpec, candidate_sizes, classify_windows, cut
from lmhld_nb.scenes.scene import BANDS, TRUE_LAYER, Scene, read_all
from lmhld_nb.sources import DataSet
from lmhld_nb.twin import runout, scene, terrain
from lmhld_nb.twin.labels import LEVELS, LabelNoise, with_noise

FOUR = twin.TwinSpec(seed=5, min_patches=16, max_patches=16, areas=("gorkha",), patches_per_scene=4)
EVENTS = [area for area in twin.RECIPES if area not in twin.AREAS]
UNSEEN = twin.TwinSpec(seed=2024, scale=0.16, min_patches=4, max_patches=None, areas=tuple(EVENTS))


@pytest.fixture(scope="module")
def smoke(twin_data: Path) -> DataSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_DATA", str(twin_data))
        return sources.load("twin-smoke")


@pytest.fixture(scope="module")
def made(smoke: DataSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    events = twin.make(tmp_path_factory.mktemp("events"), UNSEEN, workers=2, progress=False)
    return {scene.area: scene for scene in (*smoke.scenes, *events) if scene.polygons}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    return twin.make(tmp_path_factory.mktemp("four"), FOUR, workers=2, progress=False)


def read(scene: Scene) -> tuple[np.ndarray, np.ndarray, geopandas.GeoDataFrame]:
    with rasterio.open(scene.image) as source:
        image, where = source.read(), source.transform
    slides = geopandas.read_file(scene.polygons, layer=TRUE_LAYER)
    outlines = zip(slides.geometry, slides["id"], strict=True)
    mask = features.rasterize(outlines, out_shape=image.shape[1:], transform=where, dtype="int32")
    return image, mask, slides


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.*"))}


@pytest.mark.parametrize(("number", "area"), list(enumerate(twin.AREAS)))
def test_recipes_agree_with_the_published_tables(number, area):
    recipe, table1, table2 = twin.AREAS[area], paper.table(1).loc[number], paper.table(2).loc[number]
    assert (recipe.sensor, recipe.resolution_m) == (table1["sensor"], float(table1["resolution_m"]))
    assert (recipe.sizes[0], recipe.sizes[4]) == (table1["min_area_px"], table1["max_area_px"])
    assert (recipe.patch, recipe.patches) == (int(table2["patch_size"]), int(table2["patches"]))
    assert recipe.patch in candidate_sizes(recipe.sizes[1:4])
    assert recipe.epsg == (32600 if recipe.lat > 0 else 32700) + int((recipe.lon + 180) // 6) + 1  # its UTM zone
    drawn = runout.draw_sizes(np.random.default_rng(0), 1e7, recipe.sizes)
    np.testing.assert_allclose(np.percentile(drawn, [25, 50, 75]), recipe.sizes[1:4], rtol=0.15)
    assert drawn.min() >= recipe.sizes[0] and 0.5 * recipe.sizes[4] < drawn.max() <= recipe.sizes[4]


@pytest.mark.parametrize("area", ["rio", "hokkaido", "wenchuan"])
def test_slides_start_steep_and_run_downhill(area):
    made = scene.lay_out(twin.SceneTask(area, 0, 14, 7))
    slides, shape = made.slides, made.valid.shape
    steep = terrain.resize(terrain.slope(made.height, twin.AREAS[area].resolution_m * made.step), shape)
    assert steep[(slides.label > 0) & (slides.along < 0.3)].mean() > 1.1 * steep.mean()
    ground = terrain.resize(made.height, shape)
    ends = [np.where(part, slides.label, 0) for part in (slides.along < 0.2, slides.along > 0.8)]
    large = 1 + np.flatnonzero(slides.size >= np.median(slides.size))
    large = np.intersect1d(np.intersect1d(large, ends[0]), ends[1])  # without the few that were pushed off an end
    drop = ndimage.mean(ground, ends[0], large) - ndimage.mean(ground, ends[1], large)
    assert (drop > 0).mean() > 0.95
    crown, toe = (np.array(ndimage.center_of_mass(end > 0, end, large)) for end in ends)
    # elongated: the path is longer than a square of the same size is wide
    assert np.median(np.hypot(*(crown - toe).T) / np.sqrt(slides.size[large - 1])) > 1.2


@pytest.mark.parametrize("area", ["hokkaido", "jiuzhaigou", "wenchuan"])
def test_no_rim_in_the_elevation_gives_outlines_away(made, area):
    _, mask, _ = read(made[area])
    with rasterio.open(made[area].dem) as source:
        ground = source.read(1).astype(float)
    inside = mask > 0
    line = inside ^ ndimage.binary_erosion(inside)
    steep = np.hypot(*np.gradient(ground))
    other = ~ndimage.binary_dilation(inside, iterations=6) & (steep > np.median(steep[line]) / 2)
    for bend in (ndimage.laplace(ground), np.abs(ndimage.laplace(ground)), ndimage.gaussian_laplace(ground, 2.0)):
        at_line, elsewhere = np.sort(bend[line]), bend[other]
        assert abs(np.searchsorted(at_line, elsewhere).mean() / at_line.size - 0.5) < 0.1


@pytest.mark.parametrize("area", twin.RECIPES)
def test_inventory_is_pixel_exact_and_separate(made, area):
    image, mask, slides = read(made[area])
    recipe = twin.RECIPES[area]
    sizes = slides["area_px"].to_numpy()
    assert len(sizes) >= (15 if area in twin.AREAS else 4)
    assert recipe.sizes[0] <= sizes.min() and sizes.max() <= recipe.sizes[4]
    np.testing.assert_array_equal(np.bincount(mask.ravel())[slides["id"]], sizes)
    for area_m2 in (slides.area, slides["area_m2"]):
        np.testing.assert_allclose(area_m2, sizes * recipe.resolution_m**2, rtol=1e-6)
    assert slides.geometry.is_valid.all()
    assert ndimage.label(mask > 0, np.ones((3, 3)))[1] == len(slides)
    widened = ndimage.maximum_filter(mask, 2 * runout.GAP + 1)  # sees every number within the gap
    assert (widened[mask > 0] == mask[mask > 0]).all()
    assert (image[:, mask > 0] > 0).all()  # no landslide outside the image
    assert 0.03 <= (mask > 0).sum() / (image != 0).all(axis=0).sum() <= 0.115


@pytest.mark.parametrize("area", twin.RECIPES)
def test_files_are_what_the_sensor_would_deliver(made, area):
    scene, recipe = made[area], twin.RECIPES[area]
    google = area in EVENTS and area != "luding"
    with rasterio.open(scene.image) as source, rasterio.open(scene.dem) as dem:
        assert source.crs.to_epsg() == recipe.epsg == dem.crs.to_epsg()
        assert source.descriptions == scene.bands == recipe.bands == (BANDS[:3] if google else BANDS)
        assert source.nodata == 0 == scene.nodata
        assert source.res == (recipe.resolution_m,) * 2 and scene.resolution_m == recipe.resolution_m
        assert (source.shape, source.transform) == (dem.shape, dem.transform)
        assert source.tags()["SYNTHETIC"] == "yes"
        image = source.read()
        assert np.isfinite(dem.read()).all() and image.max() <= recipe.most


@pytest.mark.parametrize("area", twin.AREAS)
def test_patches_are_as_planned_and_no_threshold_solves_them(made, area):
    image, mask, _ = read(made[area])
    side = twin.AREAS[area].patch
    reason, _ = classify_windows((mask > 0).astype(np.uint8), (image != 0).all(axis=0), side, 0.1)
    corners = side * np.argwhere(reason == "")
    windows = [(slice(row, row + side), slice(column, column + side)) for row, column in corners]
    pixels = np.stack([image[:, *window] for window in windows])
    truth = np.stack([mask[window] > 0 for window in windows])
    assert 0.8 * 14 <= len(truth) <= 1.9 * 14
    published = float(paper.table(2)["landslide_fraction_train"][list(twin.AREAS).index(area)])
    share = truth.mean()
    # Whole areas of 3 to 10 % landslide fill patches of Wenchuan less than Table 2 says.
    assert abs(share - published) < 0.15
    # A small U-Net reaches 0.75 to 0.9 on more patches, where thresholds find less than on these few. And yet
    # there is something to see: better than calling all of it landslide.
    best = best_threshold(pixels, truth.astype(np.uint8), BANDS).confusion.f1
    assert 2 * share / (1 + share) + 0.05 < best < 0.75


def test_a_scene_without_landslides_gives_background_and_areas_are_made_as_before_events(smoke):
    with_slides, without = (s for s in smoke.scenes if s.area == "gorkha")
    assert with_slides.polygons is not None and without.polygons is None
    values, labels, valid = read_all(without)
    assert not labels.any() and valid.mean() > 0.7 and values.any()
    for background, expected in ((False, {with_slides.name}), (True, {with_slides.name, without.name})):
        spec = PatchSpec(dataset="t", fingerprint=str(background), area="gorkha", size=32, background=background)
        assert set(cut(spec, [with_slides, without], progress=False).index["scene"]) == expected
    # Their position in the list numbers the random streams, and the default areas are part of the fingerprint.
    assert list(twin.RECIPES) == [*paper.AREAS, *EVENTS] and twin.TwinSpec().areas == paper.AREAS
    pinned = dict(line.split("==") for line in (config.ROOT / "constraints.txt").read_text().split() if "==" in line)
    if platform.machine() != "x86_64" or any(version(name) != pinned[name] for name in ("numpy", "scipy")):
        pytest.skip("other processors and versions may round the last digits otherwise")
    assert smoke.fingerprint == "96a9bce9d0ae6d33"


def test_pixels_depend_on_neither_workers_nor_the_processors_instructions(four, tmp_path):
    # An older processor: NumPy is told to do without what the newer ones have.
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    script = (
        "import sys; from pathlib import Path; from lmhld_nb import twin\n"
        "spec = twin.TwinSpec.model_validate_json(sys.argv[2])\n"
        "for task in twin.plan(spec)[:2]: twin.scene.make_scene(Path(sys.argv[1]), task)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), FOUR.model_dump_json()],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(found)}, check=True, timeout=120,
    )  # fmt: skip
    assert os.environ["NPY_DISABLE_CPU_FEATURES"] == lmhld_nb.CAPS["NPY_DISABLE_CPU_FEATURES"], "put back"
    expected, alone = digests(four[0].image.parents[1]), digests(tmp_path)
    assert len(expected) == 4 * 3 and len(alone) == 2 * 3 and alone.items() <= expected.items()


def test_an_interrupted_making_is_completed(four, tmp_path):
    folder = shutil.copytree(four[0].image.parents[1], tmp_path / "copy")
    copies = [folder / "gorkha" / s.image.name for s in four]
    untouched = copies[0].stat().st_mtime_ns
    copies[1].write_bytes(b"torn")
    copies[2].with_name("gorkha_2_dem.tif").unlink()
    copies[3].with_name("gorkha_3_landslides.gpkg").unlink()
    assert [s.image for s in twin.make(folder, FOUR, workers=2, progress=False)] == copies
    assert digests(folder) == digests(four[0].image.parents[1])
    assert copies[0].stat().st_mtime_ns == untouched


def test_plan_reaches_the_published_counts_and_a_wrong_spec_is_refused(tmp_path):
    full = twin.TwinSpec(seed=1, scale=1.0, min_patches=4, max_patches=None)
    for area, recipe in twin.AREAS.items():
        patches = [task.patches for task in twin.plan(full) if task.area == area]
        assert sum(patches) == recipe.patches and max(patches) <= full.patches_per_scene
    mini = twin.TwinSpec(seed=1, scale=0.01, min_patches=48, max_patches=60, patches={"rio": 90}, bare=("rio",))
    assert [twin.target_patches(mini, a) for a in twin.AREAS] == [90, 48, 59, 48, 48, 48, 60]
    assert [(t.patches, t.landslides) for t in twin.plan(mini)[:3]] == [(45, True), (45, True), (12, False)]
    # An event is the same whatever is made beside it, and the order is that of the paper.
    few = twin.plan(UNSEEN.model_copy(update={"areas": ("luding", "kaikoura")}))
    assert few == [task for task in twin.plan(UNSEEN) if task.area in ("kaikoura", "luding")]
    path = tmp_path / "spec.yaml"
    wrong_ones = ["areas: [atlantis]", "areas: []", "bare: [atlantis]", "patches: {atlantis: 9}", "scale: 0.0"]
    for wrong in [*wrong_ones, "scale: '1e-3'", "colour: red", "min_patches: 50\nmax_patches: 40"]:
        path.write_text(f"kind: twin\n{wrong}\n")
        refuses(r"^.*spec\.yaml.*$", config.read_yaml, path, twin.TwinSpec)


@pytest.mark.parametrize("event", EVENTS)
def test_events_have_landslides_that_no_threshold_finds(made, event):
    values, labels, valid = read_all(made[event], made[event].bands)
    labels[~valid] = 255
    share = (labels == 1).sum() / valid.sum()
    assert 0.03 < share < 0.15
    best = best_threshold(values[None], labels[None], made[event].bands).confusion.f1
    assert 2 * share / (1 + share) + 0.05 < best < 0.6  # better than calling all of it landslide, and no solution


NOTHING = LEVELS["none"]
LABEL = ndimage.label(blobs(200, 200, 40, seed=1), np.ones((3, 3)))[0].astype(np.int32)
OLD = np.arange(LABEL.max()) % 2 == 0


def noisy(seed: int = 0, **changes: float) -> np.ndarray:
    noise = LabelNoise(**(vars(NOTHING) | changes))  # type: ignore[arg-type]
    return with_noise(LABEL, OLD, noise, np.random.default_rng(seed))


def test_each_kind_of_noise_does_what_it_says():
    size = np.bincount(LABEL.ravel())[1:]
    numbers = set(range(1, len(size) + 1))
    assert with_noise(LABEL, OLD, NOTHING, np.random.default_rng(0)) is LABEL
    left = set(np.unique(noisy(omitted=1.0))) - {0}
    assert left == {n for n in numbers if size[n - 1] >= np.median(size)}
    assert set(np.unique(noisy(old=1.0))) - {0} == {n for n in numbers if not OLD[n - 1]}
    merged = noisy(merged=1.0)
    assert (merged[LABEL > 0] > 0).all() and (merged > 0).sum() > (LABEL > 0).sum()
    assert len(np.unique(merged)) < len(np.unique(LABEL))
    for most in (1, 2):
        shifted = noisy(shifted=1.0, shift_px=most)
        for number in numbers:
            before, after = (np.argwhere(mask == number).mean(axis=0) for mask in (LABEL, shifted))
            whole = (shifted == number).sum() == size[number - 1]
            if whole:  # not cut by a neighbour or the edge
                assert 1 <= np.abs(after - before).max() <= most


def test_a_scene_differs_in_nothing_but_its_outlines(tmp_path):
    scenes: dict[str, Scene] = {}
    for level in LEVELS:
        spec = twin.TwinSpec(seed=3, min_patches=8, max_patches=8, areas=("gorkha",), label_noise=level)
        (scenes[level],) = twin.make(tmp_path / level, spec, workers=1, progress=False)
    for each in scenes.values():
        for path, other in ((each.image, scenes["none"].image), (each.dem, scenes["none"].dem)):
            with rasterio.open(path) as one, rasterio.open(other) as two:
                assert np.array_equal(one.read(), two.read())
    drawn = {level: geopandas.read_file(scene.polygons, layer=0) for level, scene in scenes.items()}
    true = {level: geopandas.read_file(scene.polygons, layer=TRUE_LAYER) for level, scene in scenes.items()}
    for level in LEVELS:
        assert true[level].equals(true["none"]) and drawn["none"].equals(true["none"])
    union = true["none"].union_all()
    unions = [table.union_all() for table in drawn.values()]
    agreed = [one.intersection(union).area / one.union(union).area for one in unions]
    assert agreed[0] == pytest.approx(1) and agreed[0] > agreed[1] > agreed[2]
