"""The web edition in a real browser, opened as files, without a network: `make test-site`.

Not named test_…, so that `make test` needs no browser.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, expect

from lmhld_nb.config import workdir

pytest_plugins = ["chromium"]

SITE = workdir() / "build" / "site"
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]
# Pages on modules are all of one make: the browser opens a few of them, links are followed through all.
MODULES = ["api/index.html", "api/lmhld_nb.audit.html", "api/lmhld_nb.patches.html"]
OPENED = [page for page in PAGES if not page.startswith("api/") or page in MODULES]
LARGEST = 3_000_000  # bytes of a page with all it loads
WIDTHS = [390, 800, 1000, 1400]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

# What pages are asked, by name.
PARTS = (Path(__file__).parent / "page.js").read_text(encoding="utf-8").split("// ")[1:]
SCRIPTS = {part.partition(":")[0]: part.partition("\n")[2] for part in PARTS}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# What the theme does and no page of ours can change: navigation bars named alike, a second header and a footer inside
# the article, its skip link and dialogs outside of any landmark.
THEIRS = ["region", "landmark-unique", "landmark-no-duplicate-banner", "landmark-banner-is-top-level"]
THEIRS += ["landmark-complementary-is-top-level", "landmark-contentinfo-is-top-level"]
THEIRS += ["landmark-no-duplicate-contentinfo"]


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
        page.goto((SITE / name).as_uri(), wait_until="load")
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
    page.evaluate(SCRIPTS["show_all"])  # also the pictures that are loaded late
    assert not light.wrong
    assert light.weight < LARGEST, f"{light.weight / 1e6:.1f} MB"
    pictures = page.evaluate(SCRIPTS["pictures"])
    for picture in pictures:
        assert picture["width"] > 0 and picture["shown"] > 0, picture["src"]
        assert len(picture["alt"]) > 20, f"no description: {picture['src']}"
    if name in CHAPTERS:
        late = page.locator("article img[loading=lazy]").count()
        assert late == len(pictures)
    assert not complaints(page)


@pytest.mark.parametrize("name", OPENED)
def test_a_page_is_readable_in_the_dark_and_fits_a_phone(dark: Watched, phone: Watched, name: str) -> None:
    page = dark.open(name)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not complaints(page, ["color-contrast"]) and not dark.wrong
    page = phone.open(name)
    page.evaluate(SCRIPTS["show_all"])
    wide = page.evaluate(SCRIPTS["wide"])
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


# Whatever can be operated: what says that it can. Rows of a table's buttons are one kind, and so are sort buttons.
CONTROLS = "button, summary, select, input[type=range], input[type=checkbox], [role=button], [role=slider]"


def operate(page: Page, control: Locator) -> None:
    """Use a control as a person does: click it, choose another option, move a slider."""
    if control.evaluate("each => each.matches('select')"):
        control.select_option(index=control.locator("option").count() - 1)
    elif control.evaluate("each => each.matches('[type=range], [role=slider]')"):
        control.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowRight")
    else:
        control.click(timeout=5000)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_kind_of_control_has_an_effect(light: Watched, width: int) -> None:
    seen: set[str] = set()
    for name in [page for page in OPENED if page.startswith(("chapters/", "api/index")) or "/" not in page]:
        page = light.open(name)
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(SCRIPTS["watch"])
        while new := [kind for kind in page.evaluate(SCRIPTS["kinds"], CONTROLS) if kind not in seen]:
            # What closes a dialog comes last, so that all else in it is used before.
            kind = min(new, key=lambda kind: kind.endswith("close"))
            seen.add(kind)
            where = f"{name}, {width} px: {kind}"
            page.wait_for_timeout(350)  # what slid in stands still
            page.evaluate("window.effects.length = 0")
            opened = [page.url, len(light.context.pages)]
            operate(page, page.locator(f"[data-kind={json.dumps(kind)}]:visible").first)
            page.wait_for_timeout(350)
            if [page.url, len(light.context.pages)] == opened:
                assert page.evaluate("window.effects"), f"no effect: {where}"
            if not [each for each in page.evaluate(SCRIPTS["kinds"], CONTROLS) if each not in seen]:
                page.keyboard.press("Escape")
        assert not light.wrong, name
    words = {word for kind in seen for word in kind.split()}
    assert {"primary-toggle", "sort", "theme-switch-button", "search-button__button"} <= words


@pytest.mark.parametrize("width", WIDTHS)
def test_a_chapter_is_reached_by_menu_and_next(light: Watched, width: int) -> None:
    page = light.open(CHAPTERS[0])
    page.set_viewport_size({"width": width, "height": 800})
    page.locator(".next-page, a.right-next").first.click()
    page.wait_for_url(f"**/{CHAPTERS[1]}")
    if not page.locator("#pst-primary-sidebar a:visible").count():
        page.locator(".primary-toggle:visible").click()
    page.locator(f"#pst-primary-sidebar a[href*='{Path(CHAPTERS[2]).name}']:visible, dialog[open] "
                 f"a[href*='{Path(CHAPTERS[2]).name}']:visible").first.click()  # fmt: skip
    page.wait_for_url(f"**/{CHAPTERS[2]}")
    assert page.locator("article h1").is_visible()


def test_files_are_downloaded_from_numbers_and_chapters(light: Watched) -> None:
    page = light.open("numbers.html")
    with page.expect_download() as taken:
        page.locator("a.download[href$='.csv']").first.click()
    assert taken.value.path().stat().st_size > 20 and taken.value.suggested_filename.endswith(".csv")
    page.locator("a.download[href$='.png']").first.click()  # from a disk the browser opens what it can show
    page.wait_for_url("**/*.png", timeout=10_000)
    page = light.open(CHAPTERS[1])
    page.locator(".chapter-links a[download]").click()
    page.wait_for_url("**/*.ipynb", timeout=10_000)
    assert nbformat.reads(page.inner_text("body"), as_version=4).cells


def test_search_finds_a_word(light: Watched) -> None:
    page = light.open("search.html")
    page.goto((SITE / "search.html").as_uri() + "?q=quartile")
    page.wait_for_selector(".search-summary:has-text('Search finished')", timeout=20_000)
    links = page.locator("ul.search li a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert any("chapters/01" in link for link in links) and any("glossary" in link for link in links)
    kinds = ["chapter" if "chapters/" in link else "api" if "api/" in link else "page" for link in links]
    assert kinds == sorted(kinds, key=["chapter", "page", "api"].index), "chapters first, functions last"
    expect(page.locator("ul.search li .excerpt mark").first).to_have_text(re.compile("quartile", re.IGNORECASE))
    assert page.locator("ul.search li:has(.excerpt)").count() == len(links)
    page.locator("ul.search li a").first.click()
    page.wait_for_url("**/chapters/*")
    assert not light.wrong


def test_tables_are_sorted_by_mouse_and_keyboard(light: Watched) -> None:
    page = light.open(next(name for name in CHAPTERS if "sortable" in (SITE / name).read_text(encoding="utf-8")))
    table = page.locator("table.sortable").first
    for column, header in enumerate(table.locator("thead tr:last-child > *").all()):
        button = header.locator("button.sort")
        if button.count() == 0:
            continue
        read = "(table, column) => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim())"
        before = table.evaluate(read, column)
        button.focus()
        page.keyboard.press("Enter")
        up = table.evaluate(read, column)
        button.click()
        assert header.get_attribute("aria-sort") == "descending"
        down = table.evaluate(read, column)
        assert sorted(before) == sorted(up) == sorted(down)
        numbers = [float(text) for text in up if re.fullmatch(r"-?[\d.]+", text)]
        assert numbers == sorted(numbers)
        assert [float(text) for text in down if re.fullmatch(r"-?[\d.]+", text)] == numbers[::-1]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_figure_is_enlarged_inside_the_page(light: Watched, width: int) -> None:
    page = light.open(CHAPTERS[1])
    page.set_viewport_size({"width": width, "height": 800})
    figure = page.locator("a.full-size").first
    figure.click()
    dialog, url = page.locator("dialog.lightbox[open]"), page.url
    picture = dialog.locator("img")
    assert picture.get_attribute("src") == figure.evaluate("each => each.href")
    assert picture.get_attribute("alt") == figure.locator("img").get_attribute("alt")
    size = "each => each.getBoundingClientRect().width"
    fitting = picture.evaluate(size)
    dialog.get_by_label("Larger").click()
    wider = "before => document.querySelector('.lightbox img').getBoundingClientRect().width > before"
    page.wait_for_function(wider, arg=fitting)
    dialog.get_by_text("Fit").click()
    assert picture.evaluate(size) == pytest.approx(fitting)
    assert not complaints(page)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.url == url and not light.wrong


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
        if table.locator("[data-cell]").count() > 1:
            assert shown.inner_text() != before
        assert re.fullmatch(r"\.venv/bin/lmhld verify \S+( [0-9a-f]{16})+", shown.locator(".command").inner_text())
        assert last.inner_text() in shown.inner_text()
        copy.click()
        expect(copy).to_have_text(re.compile("Copied|Selected"))
    assert page.locator(".cells").count() and not light.wrong
    assert not complaints(page)
