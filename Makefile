# Nothing is needed but Python 3.10 or newer (PYTHON=... names another one) and make; the environment is built in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Exactly the versions that were tested; without `-c constraints.txt` pip takes the newest that pyproject.toml allows.
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt

PHOTOGRAPHS := Flickr8k COCO PASCAL1k
# PRECISION=bfloat16 trains sooner on a processor that multiplies in it.
PRECISION ?= float32

.DEFAULT_GOAL := help
.PHONY: help demo explore test test-transformers test-ray test-quick fuzz crash-test lint format captioner bench bench-scale clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed-demo ## the first picture in a minute, then the whole program on clips that it generates
	$(RUN) demo.py

explore: $(VENV)/.installed-explore ## the page, alive, at an address of this machine: choose a photograph or a clip, and ask
	$(RUN) explore.py

test: $(VENV)/.installed-dev ## all tests
	$(RUN) -m pytest -q -n 2 --dist worksteal

test-transformers: $(VENV)-transformers/.installed ## those of captioners of the transformers library, in an environment of their own
	$(VENV)-transformers/bin/python -m pytest -q tests/explain/test_transformers_captioner.py

test-ray: $(VENV)-ray/.installed ## those of a Ray cluster (--ray), in an environment of their own
	$(VENV)-ray/bin/python -m pytest -q tests/system/test_ray_pool.py tests/test_ray.py

fuzz: $(VENV)/.installed-dev ## 10,000 damaged files and odd values, read as the program reads them (half an hour)
	$(RUN) -m tests.fuzz

crash-test: $(VENV)/.installed-dev ## every stage killed at 50 moments, and every write failing once (an hour)
	$(RUN) -m tests.crash

test-quick: $(VENV)/.installed-dev ## the tests to run while working: no command, no training
	$(RUN) -m pytest -q -n 2 --dist worksteal -m "not slow"

lint: $(VENV)/.installed-dev ## format and lint, checked only
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

format: $(VENV)/.installed-dev ## format and lint, mended
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

captioner: $(VENV)/.installed ## a captioner of photographs as the bundled one, from Flickr8k, COCO and PASCAL1k as linked under DATA/ (over an hour)
	$(RUN) preprocessing.py --dataset $(PHOTOGRAPHS)
	$(RUN) run_s2vt.py --dataset $(PHOTOGRAPHS) --train --experiment experiments/photographs --set precision=$(PRECISION)
	$(RUN) run_s2vt.py --dataset Flickr8k --experiment experiments/photographs --export experiments/captioner --set precision=float32

# BEFORE=../earlier lets a checkout of an earlier version take turns with this one.
bench: $(VENV)/.installed ## each stage beside the plain way, and whole commands: benchmarks/README.md
	$(RUN) benchmarks/bench.py
	$(RUN) benchmarks/whole.py $(if $(BEFORE),--before $(BEFORE))

bench-scale: $(VENV)/.installed ## how time and memory grow
	$(RUN) benchmarks/scale.py $(if $(BEFORE),--before $(BEFORE))

clean: ## remove the environment and caches
	rm -rf $(VENV) $(VENV)-transformers $(VENV)-ray *.egg-info .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than 3.10: name a newer one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.installed: requirements.txt pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation -e .
	touch $@

$(VENV)-transformers/.installed: requirements-transformers.txt $(VENV)/.installed-dev
	$(PYTHON) -m venv $(VENV)-transformers
	$(VENV)-transformers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -r requirements.txt -r requirements-transformers.txt "pytest>=8,<10"
	touch $@

$(VENV)-ray/.installed: requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -r requirements.txt ray "pytest>=8,<10"
	touch $@

# An extra of pyproject.toml; the program itself comes with it.
$(VENV)/.installed-%: requirements.txt pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation -e '.[$*]'
	touch $(VENV)/.installed $@
