# Nothing is needed but Python 3.10 or newer (PYTHON=... names another one) and make; the environment is built in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LONGEST := tests/test_commands.py

.PHONY: demo test flickr8k bench bench-scale lint format clean

demo: $(VENV)/.installed-demo
	$(RUN) demo.py

test: $(VENV)/.installed-dev
	@# A worker takes file after file; the one that takes longest goes first, or it would run alone at the end.
	$(RUN) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(LONGEST) tests

# The bundled captioner once more, from a Flickr8k that is linked as DATA/Flickr8k.
flickr8k: $(VENV)/.installed
	$(RUN) preprocessing.py --dataset Flickr8k
	$(RUN) run_s2vt.py --dataset Flickr8k --train
	$(RUN) run_s2vt.py --dataset Flickr8k --export experiments/flickr8k --checkpoint 6600

bench: $(VENV)/.installed
	$(RUN) benchmarks/bench.py

bench-scale: $(VENV)/.installed
	$(RUN) benchmarks/scale.py

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than 3.10: name a newer one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.installed-demo: requirements-demo.txt requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-demo.txt
	touch $(VENV)/.installed $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
