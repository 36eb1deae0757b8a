# The targets a person types; `make help` lists them. The work is done by `forecast`, so exit codes and messages are its own.
PYTHON  ?= python3.11
JOBS    ?=
DATASET ?=
MODEL   ?=
PORT    ?= 5000

BIN     := .venv/bin
PEERS   := bench/peers
SITE    := .forecast/site
PY      := $(BIN)/python
SHELL   := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-slow test-fallback docs site lint format bench-setup bench tables beside race soak lock ui clean
.NOTPARALLEL:

# A variable that names no interpreter is answered in one line, before any tool gets to fail in ten.
BOOTSTRAP = @command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo "$(PYTHON) not found. On Debian or Ubuntu: sudo apt-get install python3.11 python3.11-venv (or make PYTHON=/path/to/python3.11)" >&2; exit 2; }; \
	$(PYTHON) -m forecast.system.bootstrap

help:  ## this list
	@echo "forecast: trains, compares and records forecasters on stock and weather series"
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 19
	@echo "Narrow a run: make run DATASET=weather MODEL=lstm JOBS=1"

setup:  ## .venv from the hashed lock; does nothing while the lock is unchanged
	$(BOOTSTRAP)

demo: setup  ## a first small leaderboard and report in demo/, in four minutes with the set-up
	@$(PY) -m pipelines.demo $(if $(JOBS),--jobs '$(JOBS)')

run: setup  ## data, tuning, training, comparison, report; ends with the leaderboard
	@$(PY) -m forecast run $(if $(JOBS),--jobs '$(JOBS)') $(if $(DATASET),--dataset '$(DATASET)') $(if $(MODEL),--model '$(MODEL)')

test: setup  ## the tests a change needs, on all cores; TESTS=tests/cli for some of them
	@$(PY) -m pytest -n $(or $(JOBS),logical) $(TESTS)

test-slow: setup  ## every test, the slow ones too
	@$(PY) -m pytest -m '' -n $(or $(JOBS),logical) $(TESTS)

test-fallback: setup  ## every test with native kernels switched off: NumPy and TensorFlow alone (docs/native-kernels.md)
	@FORECAST_NATIVE_KERNELS=0 $(PY) -m pytest -m '' -n $(or $(JOBS),logical) $(TESTS)

docs: setup  ## the parts of the documents that are made from code and from the last run
	@$(PY) -m docs.generate

site: setup  ## the documentation as a site with search and executed notebooks: .forecast/site/html/index.html
	@test $(SITE)/venv/bin/mkdocs -nt docs/requirements.txt || { $(PYTHON) -m venv $(SITE)/venv && \
		$(SITE)/venv/bin/pip install -q --require-hashes -r docs/requirements.txt && touch $(SITE)/venv/bin/mkdocs; }
	@$(PY) -m docs.site
	@NO_MKDOCS_2_WARNING=1 $(SITE)/venv/bin/mkdocs build --quiet
	@echo "Site: $(SITE)/html/index.html"

lint: setup  ## ruff, mypy, names, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy forecast pipelines
	@$(PY) -m tests.support.plain_names forecast pipelines
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports

format: setup  ## ruff's fixes and format, written into the files
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-setup: setup  ## torch, neuralforecast and darts for `make bench`, in an environment below bench/peers from its own lock
	@test -x $(PEERS)/.venv/bin/python || $(PYTHON) -m venv $(PEERS)/.venv
	@$(PEERS)/.venv/bin/pip install -q --no-deps --require-hashes -r $(PEERS)/requirements.lock
	@$(PEERS)/.venv/bin/pip install -q --no-deps --require-hashes -r $(PEERS)/torch.lock 2>/dev/null || { \
		echo "No CPU wheel of torch where pip looks: taking PyPI's, with 2.5 GB of CUDA libraries." && \
		$(PEERS)/.venv/bin/pip install -q --no-deps --require-hashes -r $(PEERS)/cuda.lock; }
	@$(PEERS)/.venv/bin/python -c 'import torch, neuralforecast, darts; print("Peers: torch", torch.__version__)'

bench: setup  ## ours and the peers of bench-setup in turns, rows that are there kept (AGAIN=1: anew): docs/results.md
	@test -x $(PEERS)/.venv/bin/python || echo "torch, neuralforecast and darts are missing (make bench-setup); Keras alone is compared."
	@$(PY) -m bench.speed $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again)

tables: setup  ## published tables with our rows beside them, DATA=FOLDER of the benchmarks' files: docs/results.md
	@$(PY) -m bench.tables $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again) \
		$(if $(SEEDS),--seeds '$(SEEDS)')

beside: setup  ## a day ahead beside neuralforecast, darts and trees, DATA=FOLDER of the series: docs/results.md
	@$(PY) -m bench.beside $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again) \
		$(if $(RUN),--run '$(RUN)')

race: setup  ## whole trainings, backtests and growth beside neuralforecast and darts, DATA=FOLDER: docs/results.md
	@$(PY) -m bench.race $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again)

soak: setup  ## simulated days of operation with faults, DAYS=60, SEED= to repeat one; KILLS=1000: kill -9, resumable
	@$(if $(KILLS),nice $(PY) -m bench.killing --kills '$(KILLS)',$(PY) -m bench.soak) --days '$(or $(DAYS),60)' \
		$(if $(SEED),--seed '$(SEED)')

lock: setup  ## requirements.lock, docs/requirements.txt and the peers' locks anew, versions kept where they still fit
	@test -x .forecast/uv/bin/uv || { $(PYTHON) -m venv .forecast/uv && .forecast/uv/bin/pip install -q uv; }
	@.forecast/uv/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --extra dev pyproject.toml -o requirements.lock
	@.forecast/uv/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate docs/requirements.in -o docs/requirements.txt
	@.forecast/uv/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate $(PEERS)/requirements.in -o .forecast/peers.lock && $(PY) -m bench.peers.locks .forecast/peers.lock

ui: setup  ## MLflow on 127.0.0.1, PORT=5000
	@$(PY) -m forecast ui --port '$(PORT)'

clean: setup  ## remove what can be made again, after asking
	@$(PY) -m forecast clean
