# Everything is installed into .venv by make itself; `make test` and `make demo` work as the first command in a clone.

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow bench instructions lint docs wheel check-wheel clean
.NOTPARALLEL:  # pip must not run twice in one environment; cargo and pytest use the cores by themselves

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
MATURIN := $(BIN)/maturin build --interpreter $(BIN)/python
CI_WHEELS := target/wheels/ci
RELEASE_WHEELS := dist

# rustup's default place, for shells that have not read its profile yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
# pyo3 asks this interpreter, whichever python3 comes first on PATH.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
# Tests and demo see the installed package and nothing else.
unexport PYTHONPATH PYTHONHOME

ifneq ($(filter demo test test-slow bench instructions lint wheel check-wheel,$(MAKECMDGOALS)),)
ifeq ($(shell PATH="$(PATH)"; command -v cargo),)
$(error cargo is missing: install Rust from https://rustup.rs, then run `make $(MAKECMDGOALS)` again)
endif
endif

help:  ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.wheel-ci $(VENV)/.group-demo  ## build, install, run examples/demo.py
	@$(BIN)/python examples/demo.py

test: $(VENV)/.wheel-ci $(VENV)/.group-test  ## Rust tests of the core, Python tests of the installed wheel
	cargo test --workspace -- --quiet
	$(BIN)/pytest tests

test-slow: $(VENV)/.wheel-ci $(VENV)/.group-test  ## the tests marked slow: coverage of intervals, progress in a terminal
	$(BIN)/pytest tests -m slow

bench: $(VENV)/.wheel-release $(VENV)/.group-test $(VENV)/.group-bench  ## time a release build: criterion, then pytest-benchmark
	cargo bench --package counterfolio-core --bench '*'
	$(BIN)/pytest benches -m "" --benchmark-only
	$(BIN)/python benches/test_basic.py
	$(BIN)/python benches/test_bootstrap.py
	$(BIN)/python benches/test_models.py
	$(BIN)/python benches/test_estimators.py
	$(BIN)/python benches/test_simulate.py
	$(BIN)/python benches/test_many.py

instructions: $(VENV)/.ready  ## count the core's instructions and compare with those recorded
	@command -v valgrind >/dev/null || apt-get install --yes --quiet valgrind >/dev/null
	@$(BIN)/python benches/instructions.py

lint: $(VENV)/.wheel-ci $(VENV)/.group-lint  ## formatting, clippy, ruff, mypy, the stub against the built module
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest counterfolio._core

docs: export NO_MKDOCS_2_WARNING := 1  # the theme's notice about its successor
docs: $(VENV)/.group-docs  ## build the documentation into site/
	$(BIN)/mkdocs build --strict --quiet

wheel: $(RELEASE_WHEELS)/.built  ## build the wheel to ship into dist/
	@ls $(RELEASE_WHEELS)/*.whl

check-wheel: $(CI_WHEELS)/.built  ## follow the README in an empty environment outside this folder
	@$(BIN)/python tests/check_wheel.py $(CI_WHEELS)/*.whl

clean:  ## remove everything that make has made
	rm -rf $(VENV) target dist site demo-report .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------------------------
# What the targets stand on.

# Folders are listed too: their time changes when a file in them is removed.
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(wildcard README.md LICENSE NOTICE) \
	$(shell find rust python -name __pycache__ -prune -o -name '*.so' -prune -o -print)

$(VENV)/.ready:
	@found=; for python in python3.13 python3.12 python3.11 python3; do \
	    $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    found=$$python; break; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python >= 3.11 with venv was found: install one (Debian: apt install python3-venv), then run make again." >&2; \
	    exit 1; \
	fi; \
	$$found -m venv $(VENV)
	@$(PIP) install --upgrade "pip>=25.1"
	@touch $@

# One stamp for each group of pyproject.toml's [dependency-groups].
$(VENV)/.group-%: pyproject.toml $(VENV)/.ready
	@$(PIP) install --group $*
	@touch $@

$(CI_WHEELS)/.built: $(SOURCES) | $(VENV)/.group-build
	@rm -rf $(CI_WHEELS)
	$(MATURIN) --profile ci --out $(CI_WHEELS)
	@touch $@

$(RELEASE_WHEELS)/.built: $(SOURCES) | $(VENV)/.group-build
	@rm -rf $(RELEASE_WHEELS)
	$(MATURIN) --release --strip --out $(RELEASE_WHEELS)
	@touch $@

# The environment holds one of the two builds; installing one takes the other's stamp away.
$(VENV)/.wheel-ci: $(CI_WHEELS)/.built
	$(call install,$(CI_WHEELS))

$(VENV)/.wheel-release: $(RELEASE_WHEELS)/.built
	$(call install,$(RELEASE_WHEELS))

define install
@rm -f $(VENV)/.wheel-*
@$(PIP) uninstall --yes counterfolio 2>/dev/null
@$(PIP) install $(1)/*.whl
@touch $@
endef
