# The LMHLD notebook book. `make` alone lists the targets.
# Needs Python 3.11 or newer, make and git; the rest comes from the package index into .venv.

PY      ?= python3
PROFILE ?= mini
BIN     := .venv/bin
REFERENCE := tests/reference
# Two processes side by side; a file, or a notebook, stays in one of them, so that it shares its fixtures, or its kernel.
PYTEST  := $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help first env book smoke test test-slurm test-site test-qgis nbval-edition reference publish records attack real lab explorer student site bench lint clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

first: .venv/.core  ## the shortest way to a figure: the package alone, then chapter 00 (80 seconds)
	$(BIN)/lmhld book mini --chapter 00
	@echo "figure: build/mini/figures/overview.png; chapter: build/mini/00_start.ipynb; go on with make book"

env: .venv/.stamp  ## only set up .venv

# Written last, so that an interrupted set-up is done again; remade whenever a dependency changes. pip compiles modules one
# after another; here all cores do. What cannot be compiled (templates in other packages) is never imported.
# `make book` needs neither JupyterLab nor the tools of tests and development: half a minute less before it begins.
.venv/.core: WHAT := .
.venv/.book: WHAT := .[site]
.venv/.book: ALSO := .venv/.core
.venv/.stamp: WHAT := .[lab,test,site,workflow,onnx,dev]
.venv/.stamp: ALSO := .venv/.core .venv/.book
.venv/.browser: WHAT := .[browser]
.venv/.core .venv/.book .venv/.stamp .venv/.browser: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed, '$(PY)' is not; say which one to use: make env PY=python3.12" >&2; exit 2; }
	@echo "setting up .venv (a few minutes, the first time)"
	$(PY) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e "$(WHAT)"
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || :
	@$(BIN)/python -m ipykernel install --sys-prefix --name lmhld --display-name "LMHLD book" >/dev/null
	@touch $(ALSO) $@

book: .venv/.book  ## the whole book with the mini profile: data, runs, chapters, figures, web edition
	$(BIN)/lmhld run mini
	$(BIN)/lmhld book mini
	$(BIN)/lmhld site mini

smoke: env  ## the book in its smallest form (profile smoke)
	$(BIN)/lmhld run smoke
	$(BIN)/lmhld book smoke

test: env  ## unit tests, then the chapters against their references
	$(PYTEST) tests
	$(BIN)/lmhld run smoke --quiet
	$(PYTEST) --nbval --nbval-current-env --nbval-sanitize-with $(REFERENCE)/sanitize.cfg $(REFERENCE)

# Debian's slurm-wlm and munge are installed where they are missing; the cluster lives in a temporary folder, its nodes in
# namespaces of their own.
test-slurm: env  ## the job script and the workflow on a SLURM of two nodes, started for the test (4 minutes; needs root)
	@sh tests/slurm/install.sh
	$(BIN)/python tests/slurm/check.py

# Without a web edition in build/site/, one of the committed notebooks is built: no training. Debian's chromium is installed
# where there is no browser.
test-site: env .venv/.browser  ## every page of build/site/ in a real browser, without a network (3 minutes)
	@sh tests/site/install.sh
	@test -f build/site/index.html || $(BIN)/lmhld site --committed
	$(BIN)/python -m pytest tests/site/check.py tests/site/check_view.py
	$(BIN)/python -m pytest tests/site/check_lab.py

# Debian's python3-qgis is installed where it is missing; it has a Python of its own.
test-qgis: env  ## a map opened by QGIS, with its styles and overviews (1 minute, and QGIS to install; needs root)
	@sh tests/qgis/install.sh
	$(BIN)/python tests/qgis/make_map.py build/qgis
	QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/qgis/check.py build/qgis/map build/qgis/map.png

# In a working folder of its own, so that build/edition/ stays as it is.
nbval-edition: env  ## run committed chapters again on the finished runs of edition and compare (CHAPTER=05: one)
	rm -rf build/nbval && mkdir -p build/nbval
	for notebook in $(wildcard notebooks/$(CHAPTER)*.ipynb); do \
	  $(BIN)/papermill --prepare-only -p profile edition -p on_missing skip $$notebook build/nbval/$$(basename $$notebook) || exit; done
	LMHLD_DATA="$${LMHLD_DATA:-$${LMHLD_WORKDIR:-$(CURDIR)}/data}" LMHLD_RUNS="$${LMHLD_RUNS:-$${LMHLD_WORKDIR:-$(CURDIR)}/runs}" \
	LMHLD_WORKDIR="$(CURDIR)/build/nbval" \
	$(PYTEST) --nbval --nbval-sanitize-with $(REFERENCE)/sanitize.cfg build/nbval

reference: smoke  ## remake the references that `make test` compares chapters with (maintainers)
	$(BIN)/python tools/publish.py smoke

publish: env  ## renew the published edition from finished runs of edition and real: notebooks/*.ipynb, figures/; then make reference (maintainers)
	$(BIN)/python tools/publish.py

records: env  ## renew the records of finished runs alone, so that another machine goes on from them (maintainers)
	$(BIN)/python tools/publish.py records

attack: env  ## kills, damage, bad input and fuzzing, into benchmarks/results/attack.csv (12 minutes; ROWS="profiles kills": some)
	$(BIN)/python tools/attack.py $(ROWS)

real: env  ## train and score on the real samples in LMHLD_SHARED_DATA
	$(BIN)/python -m benchmarks.real_samples

# Settings lie in a file of the repository; Jupyter keeps tabs and panels in build/, not in your home folder.
lab: env  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab --config=notebooks/jupyter_lab/config.py

explorer: env  ## the patch explorer and the live map on one page, without code (voila)
	$(BIN)/voila notebooks/explorer.ipynb

student: env  ## chapters without solutions in build/student/, to hand out
	$(BIN)/python tools/student_copies.py

site: env  ## web edition of the chapters in build/PROFILE/ (default mini) in build/site/
	$(BIN)/lmhld site $(PROFILE)

bench: env  ## measured comparisons, into benchmarks/results/
	$(BIN)/python -m benchmarks

lint: env  ## style, types, committed notebooks and figures, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_prose.py
	$(BIN)/python tools/check_notebooks.py

clean:  ## remove build/ and caches; data/, runs/ and .venv stay
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
