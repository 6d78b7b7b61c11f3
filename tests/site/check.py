"""The web edition in a real browser, opened as files, without a network: `make test-site`.

Not named test_…, so that `make test` needs no browser.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from lmhld_nb.config import workdir

SITE = workdir() / "build" / "site"
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]
# Pages on modules are all of one make: the browser opens a few of them, links are followed through all.
MODULES = ["api/index.html", "api/lmhld_nb.audit.html", "api/lmhld_nb.patches.html"]
OPENED = [page for page in PAGES if not page.startswith("api/") or page in MODULES]
LARGEST = 3_000_000  # bytes of a page with all it loads
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# What the theme does and no page of ours can change: navigation bars named alike, a second header and a footer inside
# the article, its skip link and dialogs outside of any landmark.
THEIRS = ["region", "landmark-unique", "landmark-no-duplicate-banner", "landmark-banner-is-top-level"]
THEIRS += ["landmark-complementary-is-top-level", "landmark-contentinfo-is-top-level"]
THEIRS += ["landmark-no-duplicate-contentinfo"]


def address(page: str) -> str:
    return (SITE / page).as_uri()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert chromium, "no Chromium: sh tests/site/install.sh"
    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield launched
        launched.close()


class Watched:
    """Pages opened one after another, and what went wrong on the last."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.wrong: list[str] = []
        self.files: set[Path] = set()

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme == "file":
            self.files.add(Path(unquote(parts.path)))
        elif parts.scheme not in ("data", "blob"):
            self.wrong.append(f"asked of another server: {request.url}")

    def open(self, name: str) -> Page:
        for old in self.context.pages:
            old.close()
        self.wrong.clear()
        self.files.clear()
        page = self.context.new_page()
        page.on("console", lambda message: self.wrong.extend([message.text] * (message.type == "error")))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", lambda request: self.wrong.append(f"not loaded: {request.url}"))
        page.on("request", self._on_request)
        page.goto(address(name), wait_until="load")
        return page

    @property
    def weight(self) -> int:
        """Bytes of all files loaded since the page was opened."""
        return sum(path.stat().st_size for path in self.files if path.is_file())


def context(viewport: dict[str, int], scheme: str) -> Callable[[Browser], Watched]:
    """Return a session's fixture: pages of this size, light or dark, offline."""

    def fixture(browser: Browser) -> Watched:
        return Watched(browser.new_context(viewport=viewport, color_scheme=scheme, offline=True))

    return pytest.fixture(scope="session")(fixture)


light, dark, phone = context(DESKTOP, "light"), context(DESKTOP, "dark"), context(PHONE, "light")


def scrolled(page: Page) -> None:
    """Bring every picture into view once, so that those loaded late are loaded, and wait for them."""
    page.evaluate(
        """async () => {
          for (const image of document.images) {
            image.scrollIntoView();
            if (!image.complete) await new Promise((done) => { image.onload = image.onerror = done; });
          }
          window.scrollTo(0, 0);
        }"""
    )


def complaints(page: Page, rules: list[str] | None = None) -> list[str]:
    """Return what axe-core finds: rule, first element, and why."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE)
    # Nothing is read ahead: scripts may not read style sheets of pages opened as files.
    options: dict[str, object] = {"resultTypes": ["violations"], "preload": False}
    if rules is None:
        options["rules"] = {rule: {"enabled": False} for rule in THEIRS}
    else:
        options["runOnly"] = rules
    violations = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [f"{each['id']}: {str(each['nodes'][0])[:500]}" for each in violations]


@pytest.mark.parametrize("name", OPENED)
def test_a_page_opens_whole_and_light(light: Watched, name: str) -> None:
    page = light.open(name)
    scrolled(page)
    assert not light.wrong
    assert light.weight < LARGEST, f"{light.weight / 1e6:.1f} MB"
    pictures = page.evaluate(
        """() => [...document.querySelectorAll('article img')].map((image) => (
          {src: image.src, width: image.naturalWidth, shown: image.clientWidth, alt: image.alt}))"""
    )
    for picture in pictures:
        assert picture["width"] > 0 and picture["shown"] > 0, picture["src"]
        assert len(picture["alt"]) > 20, f"no description: {picture['src']}"
    if name in CHAPTERS:
        assert pictures
        late = page.locator("article img[loading=lazy]").count()
        assert late == len(pictures)
    assert not complaints(page)


@pytest.mark.parametrize("name", OPENED)
def test_a_page_is_readable_in_the_dark_and_fits_a_phone(dark: Watched, phone: Watched, name: str) -> None:
    page = dark.open(name)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not complaints(page, ["color-contrast"]) and not dark.wrong
    page = phone.open(name)
    scrolled(page)
    wide = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth)
            .slice(0, 3).map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], wide
    assert not phone.wrong


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_and_nothing_is_fetched_from_elsewhere(name: str) -> None:
    soup = BeautifulSoup((SITE / name).read_text(encoding="utf-8"), "html.parser")
    loaded = [element["src"] for element in soup.find_all(src=True)]
    loaded += [element["href"] for element in soup.find_all("link", href=True) if element["rel"] != ["canonical"]]
    assert not [address for address in loaded if re.match(r"(https?:)?//", address)]
    for link in soup.find_all("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme or parts.netloc:
            continue
        target = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
        assert target.is_file(), f"{link['href']} is not there"
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in ids(target), f"{link['href']}: no such heading"


@cache
def ids(path: Path) -> set[str]:
    # By pattern: parsing each page for each page that links to it would take minutes.
    return set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("width", [390, 800, 1000])
def test_menu_and_contents_open(light: Watched, width: int) -> None:
    page = light.open(next(iter(CHAPTERS)))
    page.set_viewport_size({"width": width, "height": 800})
    for button, side in ((".primary-toggle", "#pst-primary-sidebar"), (".secondary-toggle", "#pst-secondary-sidebar")):
        places = ".getBoundingClientRect().left, document.querySelectorAll('dialog[open]').length"
        before = page.evaluate(f"[document.querySelector('{side}'){places}]")
        page.locator(f"{button}:visible").click()
        page.wait_for_timeout(600)  # it slides
        assert page.evaluate(f"[document.querySelector('{side}'){places}]") != before, f"{button} has no effect"
        page.keyboard.press("Escape")
        page.wait_for_timeout(600)
    page.set_viewport_size(DESKTOP)


def test_search_finds_a_word(light: Watched) -> None:
    page = light.open("search.html")
    page.goto(address("search.html") + "?q=quartile")
    page.wait_for_selector("ul.search li a", timeout=20_000)
    links = page.locator("ul.search li a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert any("chapters/01" in link for link in links) and any("glossary" in link for link in links)
    assert not light.wrong
    page = light.open("index.html")  # and the search field of a page leads there
    page.keyboard.press("Control+k")
    page.keyboard.type("quartile")
    page.keyboard.press("Enter")
    page.wait_for_selector("ul.search li a", timeout=20_000)
    assert "search.html?q=quartile" in page.url


def test_tables_are_sorted_by_mouse_and_keyboard(light: Watched) -> None:
    page = light.open(next(name for name in CHAPTERS if "sortable" in (SITE / name).read_text(encoding="utf-8")))
    table = page.locator("table.sortable").first
    rows = table.locator("tbody tr").count()
    for column, header in enumerate(table.locator("thead tr:last-child > *").all()):
        button = header.locator("button.sort")
        if button.count() == 0:
            continue
        read = "(table, column) => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim())"
        before = table.evaluate(read, column)
        button.focus()
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "ascending"
        up = table.evaluate(read, column)
        button.click()
        assert header.get_attribute("aria-sort") == "descending"
        down = table.evaluate(read, column)
        assert sorted(before) == sorted(up) == sorted(down) and len(up) == rows
        numbers = [float(text) for text in up if re.fullmatch(r"-?[\d.]+", text)]
        assert numbers == sorted(numbers)
        assert [float(text) for text in down if re.fullmatch(r"-?[\d.]+", text)] == numbers[::-1]
        assert table.locator("[aria-sort]").count() == 1


def test_a_figure_opens_whole(phone: Watched) -> None:
    page = phone.open(CHAPTERS[1])
    figure = page.locator("a.full-size").first
    figure.scroll_into_view_if_needed()
    figure.click()
    page.wait_for_load_state()
    assert re.search(r"_images/.+\.(png|jpe?g)$", page.url)


def test_a_cell_leads_to_its_command_by_mouse_and_keyboard(light: Watched) -> None:
    page = light.open("check.html")
    for table in page.locator(".cells").all():
        shown, copy = table.locator("[role=status]"), table.locator(".copy-command")
        assert not copy.is_visible()
        first, last = table.locator("[data-cell]").first, table.locator("[data-cell]").last
        first.click()
        before = shown.inner_text()
        last.focus()
        page.keyboard.press("Enter")
        is_alone = table.locator("[data-cell]").count() == 1  # of an edition that has begun
        assert (shown.inner_text() != before) != is_alone and table.locator("[aria-pressed=true]").count() == 1
        assert re.fullmatch(r"lmhld verify \S+( [0-9a-f]{16})+", shown.locator(".command").inner_text())
        assert last.inner_text() in shown.inner_text()
        copy.click()
        expect(copy).to_have_text(re.compile("Copied|Selected"))
    assert page.locator(".cells").count() and not light.wrong
    assert not complaints(page)
