# The targets a person types; `make help` lists them. The work is done by `forecast`, so exit codes and messages are its own.
PYTHONS := python3.13 python3.12 python3.11
ifndef PYTHON # the newest that starts: a shim of pyenv may be there without its interpreter
PYTHON  := $(shell for each in $(PYTHONS); do $$each -c '' 2>/dev/null && echo $$each && exit; done; echo python3.13)
endif
JOBS    ?=
DATASET ?=
MODEL   ?=
PORT    ?= 5000

BIN     := .venv/bin
PEERS   := bench/peers
SITE    := .forecast/site
FLOORS  := .forecast/floors
UV      := .forecast/uv/bin/uv
PY      := $(BIN)/python
SHELL   := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo run test test-slow test-fallback test-floors neighbours docs site lint format bench-setup bench tables beside race study soak lock ui clean
.NOTPARALLEL:

# A variable that names no interpreter is answered in one line, before any tool gets to fail in ten.
BOOTSTRAP = @command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo "$(PYTHON) not found. On Debian or Ubuntu: sudo apt-get install python3 python3-venv (or make PYTHON=/path/to/python3.12)" >&2; exit 2; }; \
	$(PYTHON) -m forecast.system.bootstrap

help:  ## this list
	@echo "forecast: trains, compares and records forecasters on stock and weather series"
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 19
	@echo "Narrow a run: make run DATASET=weather MODEL=lstm JOBS=1"

setup:  ## install into .venv what a run needs, from the hashed lock; nothing while the lock is unchanged
	$(BOOTSTRAP)

setup-dev:  ## setup, and what tests, lint, MLflow's server, a cluster and PostgreSQL need
	$(BOOTSTRAP) --dev

demo: setup  ## a first small leaderboard and report in demo/, in four minutes with the set-up
	@$(PY) -m pipelines.demo $(if $(JOBS),--jobs '$(JOBS)')

run: setup  ## data, tuning, training, comparison, report; ends with the leaderboard
	@$(PY) -m forecast run $(if $(JOBS),--jobs '$(JOBS)') $(if $(DATASET),--dataset '$(DATASET)') $(if $(MODEL),--model '$(MODEL)')

test: setup-dev  ## the usual tests, on all cores; TESTS=tests/cli for some of them
	@$(PY) -m pytest -n $(or $(JOBS),logical) $(TESTS)

test-slow: setup-dev  ## every test, also the slow ones
	@$(PY) -m pytest -m '' -n $(or $(JOBS),logical) $(TESTS)

test-fallback: setup-dev  ## every test without our compiled code: docs/native-kernels.md
	@FORECAST_NATIVE_KERNELS=0 $(PY) -m pytest -m '' -n $(or $(JOBS),logical) $(TESTS)

test-floors:  ## the usual tests with the oldest versions that pyproject.toml allows (tests/floors.txt), on Python 3.11
	@test $(FLOORS)/done -nt tests/floors.txt || { python3.11 -m venv $(FLOORS) && \
		$(FLOORS)/bin/pip install -q -r tests/floors.txt && $(FLOORS)/bin/pip install -q --no-deps -e . && touch $(FLOORS)/done; }
	@$(FLOORS)/bin/python -m pytest -n $(or $(JOBS),logical) $(TESTS)

neighbours: setup-dev  ## try the core beside skforecast, sktime, GluonTS and others, each in an environment of its own: docs/installing.md
	@$(PY) -m bench.neighbours $(if $(ONLY),--only '$(ONLY)')

docs: setup-dev  ## write the parts of the documents that come from code and the last run
	@$(PY) -m docs.generate

site: setup-dev  ## the documentation as a site with search and executed notebooks: .forecast/site/html/index.html
	@test $(SITE)/venv/bin/zensical -nt docs/requirements.txt || { $(PYTHON) -m venv $(SITE)/venv && \
		$(SITE)/venv/bin/pip install -q --require-hashes -r docs/requirements.txt && touch $(SITE)/venv/bin/zensical; }
	@$(PY) -m docs.site
	@$(SITE)/venv/bin/zensical build --strict --clean
	@echo "Site: $(SITE)/html/index.html"

lint: setup-dev  ## ruff, mypy, names, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@printf '%s\n' 3.11 3.12 3.13 | xargs -P 3 -I VERSION $(BIN)/mypy --python-version VERSION forecast pipelines
	@$(PY) -m tests.support.plain_names forecast pipelines tests bench docs
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports

format: setup-dev  ## apply ruff's fixes and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-setup: setup-dev  ## torch, neuralforecast and darts for `make bench`, in an environment below bench/peers from its own lock
	@test -x $(PEERS)/.venv/bin/python || $(PYTHON) -m venv $(PEERS)/.venv
	@$(PEERS)/.venv/bin/pip install -q --no-deps --require-hashes -r $(PEERS)/requirements.lock
	@$(PEERS)/.venv/bin/pip install -q --no-deps --require-hashes -r $(PEERS)/torch.lock 2>/dev/null || { \
		echo "No CPU wheel of torch where pip looks: taking PyPI's, with 2.5 GB of CUDA libraries." && \
		$(PEERS)/.venv/bin/pip install -q --no-deps --require-hashes -r $(PEERS)/cuda.lock; }
	@$(PEERS)/.venv/bin/python -c 'import torch, neuralforecast, darts; print("Peers: torch", torch.__version__)'

bench: setup-dev  ## speed beside the libraries of bench-setup; keeps finished rows (AGAIN=1 measures them again): docs/results.md
	@test -x $(PEERS)/.venv/bin/python || echo "torch, neuralforecast and darts are missing (make bench-setup); Keras alone is compared."
	@$(PY) -m bench.speed $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again)

tables: setup-dev  ## our errors beside published tables, DATA=FOLDER of the benchmarks' files: docs/results.md
	@$(PY) -m bench.tables $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again) \
		$(if $(SEEDS),--seeds '$(SEEDS)')

beside: setup-dev  ## errors a day ahead beside neuralforecast, darts and trees, DATA=FOLDER of the series: docs/results.md
	@$(PY) -m bench.beside $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again) \
		$(if $(RUN),--run '$(RUN)')

race: setup-dev  ## seconds of trainings, backtests and many series beside neuralforecast and darts, DATA=FOLDER: docs/results.md
	@$(PY) -m bench.race $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again)

study: setup-dev  ## run the study of when a recurrent network pays (resumable), MINUTES=40: docs/when-recurrent.md
	@$(PY) -m bench.study $(if $(MINUTES),--minutes '$(MINUTES)') $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)')

soak: setup-dev  ## simulated days of operation with faults, DAYS=60, SEED= to repeat one; KILLS=1000: kill -9 at random (resumable)
	@$(if $(KILLS),nice $(PY) -m bench.killing --kills '$(KILLS)',$(PY) -m bench.soak) --days '$(or $(DAYS),60)' \
		$(if $(SEED),--seed '$(SEED)')

COMPILE = $(UV) pip compile -q --generate-hashes --no-emit-index-url --no-header --no-annotate
PLATFORMS := x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin x86_64-pc-windows-msvc

# Versions are kept where they still fit. One lock serves every Python and platform; the loop at the end looks for a
# wheel of each package on each (antlr4 is published as source alone, and needs no compiler). yfinance asks for lxml and
# reads its pages without it; the tests take it from their own lock.
lock: setup-dev  ## write the locks again: of a run, of tests, of the site, of the peers, of the oldest versions
	@test -x $(UV) || { $(PYTHON) -m venv .forecast/uv && .forecast/uv/bin/pip install -q uv; }
	@$(COMPILE) --universal --python-version 3.11 --excludes requirements-unneeded.txt --no-emit-package lxml \
		--extra pipeline pyproject.toml -o requirements.lock
	@$(COMPILE) --universal --python-version 3.11 --excludes requirements-unneeded.txt --extra dev -c requirements.lock \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) pyproject.toml -o requirements-dev.lock
	@$(COMPILE) --universal --python-version 3.11 --excludes requirements-unneeded.txt --no-emit-package lxml \
		--extra pipeline --extra pretrained -c requirements.lock pyproject.toml -o requirements-pretrained.lock
	@$(COMPILE) --python-version 3.11 docs/requirements.in -o docs/requirements.txt
	@$(COMPILE) --python-version 3.11 $(PEERS)/requirements.in -o .forecast/peers.lock && $(PY) -m bench.peers.locks .forecast/peers.lock
	@$(UV) pip compile -q --python-version 3.11 --resolution lowest-direct --no-emit-index-url --no-header --no-annotate \
		--extra test pyproject.toml -o tests/floors.txt
	@for platform in $(PLATFORMS); do for version in 3.11 3.12 3.13; do \
		sed '/^antlr4/,/[^\\]$$/d' requirements.lock > .forecast/wheels.lock; \
		$(UV) pip install -q --dry-run --no-deps --only-binary :all: --target .forecast/none --python-platform $$platform \
			--python-version $$version -r .forecast/wheels.lock && echo "$$platform, Python $$version: resolved" || exit 1; done; done

ui: setup-dev  ## MLflow on 127.0.0.1, PORT=5000
	@$(PY) -m forecast ui --port '$(PORT)'

clean: setup  ## remove what can be made again, after asking
	@$(PY) -m forecast clean
