"""Sphinx configuration of the web edition.

The pages are the chapters as they were executed: nothing runs here, and no page asks another server for anything.
`lmhld site` copies this folder, adds the executed chapters and their figures, and calls Sphinx; `lmhld_book`, the
extension beside this file, makes the other pages from files.
"""

import sys
from pathlib import Path

import yaml

from lmhld_nb import __version__
from lmhld_nb.config import ROOT

sys.path.insert(0, str(Path(__file__).parent))

project = "The LMHLD notebook book"
author = "the LMHLD notebook book authors"
project_copyright = f"2026, {author}"
version = release = __version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
    "sphinx_design",
    "lmhld_book",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}  # autosummary writes .rst
exclude_patterns = ["_build", "_templates", "**/.ipynb_checkpoints", "results.md", "live.md"]  # in index.md
templates_path = ["_templates"]

nb_execution_mode = "off"  # chapters are executed by papermill, with parameters, before
nb_ipywidgets_js = {}  # the default loads widget scripts from a CDN; beside each widget stands a figure
nb_merge_streams = True  # a progress line and a print make one block

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

default_role = "py:obj"  # `name` in a docstring: a link where such a thing is documented, else code
autodoc_mock_imports = ["jupyter_server"]  # of the extra `lab`, which a site does without
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
# Plain lists, which may name two things at once ("rows, cols: …").
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_default_options = {"exclude-members": "model_config"}  # of pydantic's models
toc_object_entries_show_parents = "hide"

# MathJax is a local file, but its menu and its speech engine would fetch rules from a CDN when used.
# Screen readers still get MathML, which needs neither.
mathjax3_config = {
    "options": {
        "enableMenu": False,
        "enableEnrichment": False,
        "enableExplorer": False,
        "enableAssistiveMml": True,
    }
}

# The public address of the code, once CITATION.cff has one: each page then links to it.
repository = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")).get("repository-code", "")

html_theme = "sphinx_book_theme"
html_title = project
html_copy_source = True
html_show_sourcelink = False
html_show_search_summary = False  # would be fetched, which browsers forbid to pages opened as files; see search.js
html_use_index = False  # a thousand names on one page; the search has them
html_domain_indices = False
html_static_path = ["_static"]
html_css_files = ["book.css", "live.css"]
html_js_files = [(name, {"defer": "defer"}) for name in ("sort.js", "check.js", "lightbox.js", "live.js")]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_theme_options = {
    "use_download_button": True,  # the notebook itself
    "use_fullscreen_button": False,
    "use_repository_button": bool(repository),
    "repository_url": repository,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "max_navbar_depth": 1,  # pages on modules stay out of the side bar, which would be longer than any page
    # The theme's icons and fonts are its own files; nothing is fetched from elsewhere.
    "icon_links": [],
}
