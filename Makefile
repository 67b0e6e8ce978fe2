# Needs Python 3.11 or newer and make, nothing else. `make help` lists the targets.

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Where torch comes from; empty: pip's own index. An index of CPU wheels saves gigabytes on a machine without a GPU.
TORCH_INDEX ?=
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEMO := runs/demo
# Parameters of the demo's notebook, such as DEMO_OPTIONS="-p SIZE ci"; empty: its own.
DEMO_OPTIONS ?=
# Options of the app's server, such as APP_OPTIONS="--port=8866 --no-browser".
APP_OPTIONS ?=
# Parts of `make test`, such as PARTS="lint default"; empty: all.
PARTS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test lab app lint notebooks figures clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with the tested versions (once)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, none was found. Install it, or: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	$(PY) -m pip install --constraint constraints.txt --editable ".[dev,vlp]"
	@touch $@

demo: setup ## Pre-train on warps of a real CT, in a notebook; minutes on a laptop
	@$(PY) -m voco_lite samples fetch || echo "The real CT is not there: going on with phantoms made by code."
	@if [ -d $(DEMO) ]; then rm -rf $(DEMO).before && mv $(DEMO) $(DEMO).before; fi
	$(PY) -m voco_lite notebooks run 05_pretrain --out-folder $(DEMO) $(DEMO_OPTIONS)
	@$(PY) -m voco_lite notebooks summary $(DEMO)

test: setup ## All tests, in parts
	$(PY) tests/run_parts.py $(PARTS)

lab: setup ## Open JupyterLab on the notebooks
	$(PY) -m jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks \
		--LabApp.extra_labextensions_path=voco_lite/viewers/labextension

app: setup ## Serve the position explorer as a page of its own, by Voilà
	cd notebooks/app && JUPYTER_PATH=$(CURDIR)/notebooks/app/jupyter $(abspath $(PY)) -m voila positions.py $(APP_OPTIONS)

lint: setup ## Style and types only
	$(PY) tests/run_parts.py lint

notebooks: setup ## Build the student and solution notebooks from notebooks/_source
	$(PY) -m voco_lite notebooks build

figures: setup ## Draw the pictures of the README
	$(PY) notebooks/figures/make.py

clean: ## Remove what tests and tools left; runs and data stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis executed *.egg-info
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
