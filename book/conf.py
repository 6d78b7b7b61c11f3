"""Sphinx configuration of the web edition.

The pages are the chapters as they were executed: nothing runs here, and no page asks another server for anything.
``sphinx-build -b html -W SRC build/site``, where SRC is a copy of this folder plus ``chapters/*.ipynb``.
"""

from lmhld_nb import __version__

project = "The LMHLD notebook book"
author = "the LMHLD notebook book authors"
project_copyright = f"2026, {author}"
version = release = __version__
language = "en"

extensions = ["myst_nb", "sphinx-mathjax-offline"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # chapters are executed by papermill, with parameters, before
nb_ipywidgets_js = {}  # the default loads widget scripts from a CDN; beside each widget stands a figure
nb_merge_streams = True  # a progress line and a print make one block

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

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

html_theme = "sphinx_book_theme"
html_title = project
html_copy_source = True
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_theme_options = {
    "use_download_button": True,  # the notebook itself
    "use_fullscreen_button": False,
    "use_repository_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    # The theme's icons and fonts are its own files; nothing is fetched from elsewhere.
    "icon_links": [],
}
