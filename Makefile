# Everything a person or CI runs. `make test` needs Python >= 3.11 with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test soak bench fuzz servers lint types unit others clean

# Push an image from a store to a registry on this machine, and look at what arrived.
demo: $(VENV)/.cli
	$(BIN)/python examples/demo.py

test: servers lint types unit others

$(VENV)/.cli: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --editable ".[cli]"
	touch $@

$(VENV)/.installed: $(VENV)/.cli
	$(BIN)/pip install --quiet --group test --group lint
	touch $@

# Servers and clients that nobody here wrote. Without apt or root, the tests that need them say so and are skipped.
servers:
	@.ci/servers

# 10,000 random schedules of faults, and eight hours of pushes on virtual time: at most 20 minutes on two cores.
soak: $(VENV)/.installed
	OCIPUSH_SCHEDULES=10000 OCIPUSH_SHARDS=16 OCIPUSH_HOURS=8 \
		$(BIN)/python -m pytest --quiet --numprocesses 2 --dist worksteal tests/property

# Compare with other tools, as benchmarks/README.md says: all of it, or in small with QUICK=1. BENCH holds more options.
bench: servers $(VENV)/.bench
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(BENCH)

$(VENV)/.bench: $(VENV)/.cli
	$(BIN)/pip install --quiet --group bench
	touch $@

# Fuzz every reader of a registry's words with libFuzzer, FUZZ_SECONDS each; on Linux, where atheris has wheels.
FUZZ_SECONDS ?= 20
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

$(VENV)/.fuzz: $(VENV)/.cli
	$(BIN)/pip install --quiet --group fuzz
	touch $@

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes ocipush --ignoreexternal >$(VENV)/verifytypes || \
		{ cat $(VENV)/verifytypes; exit 1; }

unit: $(VENV)/.installed
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --quiet --numprocesses auto --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The tests, without coverage, on every newer Python that is installed. Tests of pages, packaging, other systems, benchmarks and
# other tools do not depend on the version and are left out; so does trio, on which the same code runs.
ONCE := tests/real tests/property tests/benchmarks tests/test_architecture.py tests/test_packaging.py tests/test_portability.py \
	tests/test_readme.py tests/test_security_promises.py tests/testing tests/mocked
NEWER := $(wildcard /usr/bin/python3.1[2-9] /usr/local/bin/python3.1[2-9] $(HOME)/.pyenv/versions/3.1[2-9].*/bin/python)
others: $(VENV)/.installed
	@for python in $(NEWER); do \
		home=$(VENV)/other/$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
		echo "tests on $$home" && \
		$$python -m venv $$home && \
		$$home/bin/pip install --quiet --upgrade "pip>=25.1" && \
		$$home/bin/pip install --quiet --editable ".[cli]" --group test && \
		$$home/bin/python -m pytest --quiet --numprocesses auto --dist worksteal \
			-k "not trio" tests $(ONCE:%=--ignore %) || exit 1; \
	done

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache
