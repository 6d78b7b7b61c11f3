"""The live map in a real browser: everything on it answers, and its numbers are those of its rasters.

Part of `make test-site`; the page is the one that the site begins with.
"""

import base64
import io
import json
import re
from typing import Any

import numpy as np
import PIL.Image
import pytest
from check import DESKTOP, LARGEST, PHONE, SITE, Watched, complaints, context
from check import browser as browser
from playwright.sync_api import Page, expect
from scipy.ndimage import label

VIEW = "_static/view.html"
light, dark, phone = context(DESKTOP, "light"), context(DESKTOP, "dark"), context(PHONE, "light")


def opened(watched: Watched) -> Page:
    page = watched.open(VIEW)
    page.wait_for_selector("#rows tr")
    return page


def settled(page: Page) -> Page:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
    return page


def numbers(page: Page) -> list[list[float]]:
    """Return what the table says of each network: precision, recall, F1 (NaN where not defined) and landslides."""
    rows = settled(page).locator("#rows tr").all()
    texts = [[cell.inner_text().replace(",", "") for cell in row.locator("td").all()] for row in rows]
    return [[float("nan") if text == "–" else float(text) for text in row] for row in texts]


def rasters(data: dict[str, Any]) -> tuple[np.ndarray, list[np.ndarray]]:
    addresses = [data["truth"], *(network["probability"] for network in data["networks"])]
    content = [io.BytesIO(base64.b64decode(address.partition(",")[2])) for address in addresses]
    truth, *reached = (np.asarray(PIL.Image.open(file))[..., 0] for file in content)
    return truth, reached


def expected(data: dict[str, Any], threshold: float, least_px: int) -> list[list[float]]:
    truth, networks = rasters(data)
    rows = []
    for reached in networks:
        labels, _ = label((reached > data["levels"].index(threshold)) & (reached != 255), np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        kept = np.r_[False, sizes[1:] >= least_px]
        mapped, known = kept[labels], (truth != 255) & (reached != 255)
        tp, fp, fn = (
            (where & known).sum() for where in (mapped & (truth == 1), mapped & (truth == 0), ~mapped & (truth == 1))
        )
        rows.append([tp / (tp + fp) if tp + fp else np.nan, tp / (tp + fn), 2 * tp / (2 * tp + fp + fn), kept.sum()])
    return rows


def test_the_site_begins_with_a_map_of_synthetic_data(light: Watched) -> None:
    page = light.open("index.html")
    first = page.locator("article h1 + *").first
    frame = first.locator("iframe").or_(page.locator("article h1 + iframe")).first
    assert frame.get_attribute("src") == VIEW
    inside = page.frame_locator("iframe.live-map")
    inside.locator("#rows tr").first.wait_for()
    assert "synthetic" in inside.locator("#about").inner_text()
    for theme in ("dark", "light"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        expected_ground = {"dark": "rgb(20, 24, 28)", "light": "rgb(255, 255, 255)"}[theme]
        expect(inside.locator("body")).to_have_css("background-color", expected_ground)
    assert light.weight < LARGEST and not light.wrong
    page.locator(".live-map-link a").first.click()
    page.wait_for_selector("#rows tr")
    assert page.url.endswith(VIEW)


def test_numbers_follow_the_sliders_and_are_those_of_the_rasters(light: Watched) -> None:
    data = json.loads(re.findall(r'id="data">(.*?)</script>', (SITE / VIEW).read_text(encoding="utf-8"), re.S)[0])
    page = opened(light)
    assert numbers(page) == pytest.approx(np.array(expected(data, 0.5, data["least_px"])), abs=5.1e-4, nan_ok=True)
    page.locator("#threshold").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert settled(page).locator("#threshold-value").inner_text() == "0.7"
    page.locator("#least").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    least = int(settled(page).locator("#least-value").inner_text().split()[0])
    assert least > data["least_px"] and "m²" in page.locator("#least").get_attribute("aria-valuetext")
    after = numbers(page)
    assert after == pytest.approx(np.array(expected(data, 0.7, least)), abs=5.1e-4, nan_ok=True)
    box = page.locator("#threshold").bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert float(settled(page).locator("#threshold-value").inner_text()) < 0.3
    assert all(now[1] > then[1] for now, then in zip(numbers(page), after, strict=True)), "recall rises"
    page.wait_for_timeout(900)
    assert re.search(r"Precision 0\.\d+, Recall 0\.\d+", page.locator("#said").text_content()), "read aloud"
    assert not light.wrong


def test_layers_opacity_and_zoom_change_the_picture(light: Watched) -> None:
    page = opened(light)
    seen = [page.locator("#map").screenshot()]

    def changes(what: str) -> None:
        page.wait_for_timeout(400)  # zooming slides
        seen.append(settled(page).locator("#map").screenshot())
        assert seen[-1] != seen[-2], f"{what} has no effect"

    for box in page.locator("[data-layer]").all():
        box.focus()
        page.keyboard.press("Space")
        changes(box.get_attribute("data-layer"))
    page.locator("#opacity").press("ArrowLeft")
    changes("opacity")
    for name in ("Zoom in", "Zoom out"):
        page.get_by_role("button", name=name).click()
        changes(name)
    page.locator("#map").focus()
    page.keyboard.press("+")
    changes("the key +")
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 160, steps=4)
    page.mouse.up()
    changes("dragging")


def test_values_show_under_the_pointer_and_at_the_cross(light: Watched) -> None:
    page = opened(light)
    box, here = page.locator("#map").bounding_box(), page.locator("#here")
    texts = [here.inner_text()]
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    texts.append(here.inner_text())
    assert re.match(r"Row \d+, column \d+ · .+: probability \d\.\d\d, (no )?landslide", texts[-1]), texts[-1]
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    texts.append(here.inner_text())
    assert len(set(texts)) == 3, texts


def test_the_divide_moves_by_key_and_mouse(light: Watched) -> None:
    page = opened(light)
    divide, line = page.locator("#divide"), page.locator("#line")
    if page.locator("#rows tr").count() == 1:
        assert not divide.is_visible()
        return
    places, seen = [line.bounding_box()["x"]], [page.locator("#map").screenshot()]
    divide.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    places.append(line.bounding_box()["x"])
    seen.append(settled(page).locator("#map").screenshot())
    middle = line.bounding_box()["y"] + line.bounding_box()["height"] / 2
    page.mouse.move(places[-1], middle)
    page.mouse.down()
    page.mouse.move(places[-1] - 300, middle, steps=4)
    page.mouse.up()
    places.append(line.bounding_box()["x"])
    seen.append(settled(page).locator("#map").screenshot())
    assert places[1] > places[0] + 20 and places[2] < places[1] - 200
    assert len(set(seen)) == 3
    names = [row.locator("th").inner_text() for row in page.locator("#rows tr").all()]
    assert [page.locator("#left").inner_text(), page.locator("#right").inner_text()] == names


def test_it_is_readable_light_and_dark_and_fits_a_phone(light: Watched, dark: Watched, phone: Watched) -> None:
    assert not complaints(opened(light))
    assert not complaints(opened(dark), ["color-contrast"])
    page = opened(phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not complaints(page) and not (light.wrong + dark.wrong + phone.wrong)
    sides = [control.bounding_box() for control in page.locator("input[type=range]:visible").all()]
    assert all(side["height"] >= 24 for side in sides), "large enough for a finger"
