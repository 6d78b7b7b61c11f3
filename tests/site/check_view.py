"""The live map that the site begins with, in a real browser: everything on it answers, its numbers are its rasters'."""

import base64
import io
import json
import re
from typing import Any

import numpy as np
import PIL.Image
import pytest
from check import DESKTOP, LARGEST, PHONE, SITE, Watched, complaints, context
from playwright.sync_api import Locator, Page, expect
from scipy.ndimage import label

pytest_plugins = ["chromium"]

VIEW = "_static/view.html"
light, dark, phone = context(DESKTOP, "light"), context(DESKTOP, "dark"), context(PHONE, "light")


def opened(watched: Watched) -> Page:
    page = watched.open(VIEW)
    page.wait_for_selector("#rows tr")
    return page


def settled(page: Page) -> Page:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
    return page


def press(page: Page, control: str, key: str, times: int = 1) -> None:
    page.locator(control).focus()
    for _ in range(times):
        page.keyboard.press(key)


def drag(page: Page, x: float, y: float, right: float) -> None:
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y, steps=4)
    page.mouse.up()


def box_of(locator: Locator) -> dict[str, float]:
    box = locator.bounding_box()
    assert box, "not visible"
    return dict(box)


def numbers(page: Page) -> np.ndarray:
    """Return what the table says of each network: precision, recall, F1 and landslides."""
    rows = settled(page).locator("#rows tr").all()
    return np.array([[float(cell.replace(",", "")) for cell in row.locator("td").all_inner_texts()] for row in rows])


def expected(data: dict[str, Any], threshold: float, least_px: int) -> np.ndarray:
    addresses = [data["truth"], *(network["probability"] for network in data["networks"])]
    content = [io.BytesIO(base64.b64decode(address.partition(",")[2])) for address in addresses]
    truth, *networks = (np.asarray(PIL.Image.open(file))[..., 0] for file in content)
    rows = []
    for reached in networks:
        labels, _ = label((reached > data["levels"].index(threshold)) & (reached != 255), np.ones((3, 3)))
        kept = np.r_[False, np.bincount(labels.ravel())[1:] >= least_px]
        mapped, known = kept[labels], (truth != 255) & (reached != 255)
        tp, found, true = ((known & where).sum() for where in (mapped & (truth == 1), mapped, truth == 1))
        rows.append([tp / found, tp / true, 2 * tp / (found + true), kept.sum()])
    return np.array(rows)


def test_the_site_begins_with_it_and_it_turns_dark_with_the_site(light: Watched) -> None:
    page = light.open("index.html")
    assert page.locator("article h1 + iframe").get_attribute("src") == VIEW
    inside = page.frame_locator("iframe.live-map")
    assert "synthetic" in inside.locator("#about").inner_text()
    for theme, ground in (("dark", "rgb(20, 24, 28)"), ("light", "rgb(255, 255, 255)")):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        expect(inside.locator("body")).to_have_css("background-color", ground)
    assert light.weight < LARGEST and not light.wrong
    page.locator(".live-map-link a").first.click()
    page.wait_for_selector("#rows tr")
    assert page.url.endswith(VIEW)


def test_numbers_follow_the_sliders_and_are_those_of_the_rasters(light: Watched) -> None:
    data = json.loads(re.findall(r'id="data">(.*?)</script>', (SITE / VIEW).read_text(encoding="utf-8"), re.S)[0])
    page = opened(light)
    assert numbers(page) == pytest.approx(expected(data, 0.5, data["least_px"]), abs=5.1e-4)
    press(page, "#threshold", "ArrowRight", 20)
    press(page, "#least", "ArrowRight", 3)
    assert settled(page).locator("#threshold-value").inner_text() == "0.7"
    least = int(page.locator("#least-value").inner_text().split()[0])
    assert least > data["least_px"] and "m²" in str(page.locator("#least").get_attribute("aria-valuetext"))
    after = numbers(page)
    assert after == pytest.approx(expected(data, 0.7, least), abs=5.1e-4)
    box = box_of(page.locator("#threshold"))
    drag(page, box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2, -0.5 * box["width"])
    assert (numbers(page)[:, 1] > after[:, 1]).all(), "recall rises"
    expect(page.locator("#said")).to_have_text(re.compile(r"Precision 0\.\d+, Recall 0\.\d+"))  # read aloud
    assert not light.wrong


def test_layers_zoom_and_the_divide_change_the_picture(light: Watched) -> None:
    page = opened(light)
    page.wait_for_timeout(600)
    seen = [page.locator(".view").screenshot()]

    def changes(what: str) -> None:
        page.wait_for_timeout(500)  # zooming slides
        seen.append(settled(page).locator(".view").screenshot())
        assert seen[-1] != seen[-2], f"{what} has no effect"

    for layer in page.locator("[data-layer]").all():
        press(page, f"[data-layer={layer.get_attribute('data-layer')}]", "Space")
        changes(str(layer.get_attribute("data-layer")))
    for control, key in (("#opacity", "ArrowLeft"), ("#map", "+"), ("#map", "ArrowDown")):
        press(page, control, key)
        changes(f"{control} {key}")
    for name in ("Zoom in", "Zoom out"):
        page.get_by_role("button", name=name).click()
        changes(name)
    box = box_of(page.locator("#map"))
    drag(page, box["x"] + 60, box["y"] + 120, 80)
    changes("dragging")
    names = page.locator("#rows th").all_inner_texts()
    assert page.locator("#divide").is_visible() == (len(names) == 2)
    if len(names) == 2:
        assert page.locator("#swipe span").all_inner_texts() == names
        press(page, "#divide", "ArrowRight", 20)
        changes("the divide by keyboard")


def test_it_is_readable_light_and_dark_and_fits_a_phone(light: Watched, dark: Watched, phone: Watched) -> None:
    assert not complaints(opened(light))
    assert not complaints(opened(dark), ["color-contrast"])
    page = opened(phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not complaints(page) and not (light.wrong + dark.wrong + phone.wrong)
    sliders = [box_of(slider) for slider in page.locator("input[type=range]:visible").all()]
    assert all(slider["height"] >= 24 for slider in sliders), "large enough for a finger"
