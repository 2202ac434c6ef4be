# make demo · make test · make fuzz · make lint: each sets up .venv by itself first. make test-oldest has one of
# its own, with the oldest Keras and TensorFlow that trm-export takes, and make test-next one with the coming.
#
# PYTHON=/path/to/python chooses the interpreter; otherwise the first of CANDIDATES that is 3.11,
# 3.12 or 3.13 is taken. Needs make, Python with pip, and nothing else.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := python3.13 python3.12 python3.11 python3 python
NEWEST := 13
PROJECTS := pyproject.toml runtimes/pyproject.toml
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
DURATIONS ?= 15
MINUTES ?= 5
WORKERS ?= 2

OLDEST := .venv-oldest
OLDEST_PAIR := "keras==3.8.*" "tensorflow==2.18.*"
OLDEST_NEWEST := 12
OLDEST_CANDIDATES := python3.12 python3.11 python3 python
OLDEST_TESTS := tests/step tests/third_party tests/exporters tests/parity

NEXT := .venv-next
NIGHTLIES := keras-nightly tf-nightly ai-edge-litert-nightly

WEB := runtimes/web
NODE_MODULES := $(WEB)/node_modules/.installed
# Each tool with the packages of Debian that bring it.
DEVICE_TOOLS := node:nodejs npm:npm chromium:chromium
# Generated C: emulated Cortex-M boards, 64-bit Arm, WebAssembly.
DEVICE_TOOLS += arm-none-eabi-gcc:gcc-arm-none-eabi,libnewlib-arm-none-eabi
DEVICE_TOOLS += qemu-system-arm:qemu-system-arm qemu-aarch64:qemu-user
DEVICE_TOOLS += aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu,libc6-dev-arm64-cross
DEVICE_TOOLS += clang:clang wasm-ld:lld
# The C++ driver: two compilers, CMake, 64-bit Arm.
DEVICE_TOOLS += cmake:cmake g++:g++ clang++:clang aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
# What clang++ links with -fsanitize=address has no command; Debian keeps it apart since 12.
DEVICE_TOOLS += sanitizers-of-clang++:libclang-rt-dev

# A program that fails unless its Python is 3.11 to 3.N and can make environments.
supported = import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $(1)))

export PIP_NO_INPUT := 1

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-devices device-tools web-demo micro-demo test-oldest test-oldest-here test-next fuzz lint docs build sbom clean

help:
	@echo "make demo   export the shipped 9x9 model, solve puzzles with it, compare it with Keras"
	@echo "make test WORKERS=2   every test this machine allows, in so many processes"
	@echo "make test-devices   the drivers for browsers and other devices, with node and chromium"
	@echo "make web-demo   a page that solves puzzles in the browser, in build/web-demo"
	@echo "make micro-demo  solve a 9x9 Sudoku on an emulated Cortex-M4, with 98 kB of memory"
	@echo "make test-oldest   export, parity and third-party models with Keras 3.8 and TensorFlow 2.18"
	@echo "make test-next   the same as make test with the nightly Keras, TensorFlow and LiteRT"
	@echo "make fuzz MINUTES=5   changed inputs for every reader of files, and random models in every format"
	@echo "make lint   ruff and mypy"
	@echo "make docs   docs/ as a site in build/site, its links checked"
	@echo "make build  both distributions, checked by twine, and their bills of materials, in dist/"
	@echo "make sbom   the bills of materials alone"
	@echo "make clean  remove the virtual environment and the caches"

demo: $(VENV)/installed
	@$(BIN)/trm-export demo

test: $(VENV)/installed-dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=$(DURATIONS) \
	    --ignore tests/devices

# The drivers of other devices, each with its own tools. What cannot be installed is named, and the
# tests that need it skip.
test-devices: $(VENV)/installed-dev device-tools $(NODE_MODULES)
	@$(PIP) tflite-micro || echo "Missing: tflite-micro; the tests that need it are skipped."
	@$(BIN)/python -m pytest --durations=$(DURATIONS) tests/devices

# Each tool by itself: one package that conflicts with what is installed does not keep the rest out.
device-tools:
	@has() { case $$1 in \
	    sanitizers-of-*) echo "int main() {}" | $${1#sanitizers-of-} -fsanitize=address -x c++ -o /dev/null - ;; \
	    *) command -v $$1 ;; \
	esac >/dev/null 2>&1; }; \
	missing() { for one in $(DEVICE_TOOLS); do has $${one%%:*} || echo $$one; done; }; \
	if [ -n "$$(missing)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -qq update >/dev/null || true; \
	    for one in $$(missing); do \
	        packages=$$(echo $${one#*:} | tr , " "); \
	        echo "Installing $$packages ..."; \
	        DEBIAN_FRONTEND=noninteractive \
	            apt-get -qq install --no-install-recommends $$packages >/dev/null || true; \
	    done; \
	fi; \
	for one in $$(missing); do echo "Missing: $${one%%:*}; the tests that need it are skipped."; done

# No lock file: it would name the index. The versions are those of package.json.
$(NODE_MODULES): $(WEB)/package.json | device-tools
	@if command -v npm >/dev/null; then \
	    echo "Installing node packages into $(WEB)/node_modules ..."; \
	    cd $(WEB) && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --silent && \
	    touch node_modules/.installed || echo "npm cannot install the packages of $(WEB)."; \
	fi

# A folder that any web server can host.
web-demo: $(VENV)/installed $(NODE_MODULES)
	@$(BIN)/python benchmarks/build_web_demo.py build/web-demo
	@node $(WEB)/demo/build.mjs build/web-demo

# The board of every step as it arrives. Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and
# qemu-system-arm, which device-tools installs.
PUZZLE := .2319..5.6.945....15...382.876..95.....8....7.1.67..8...8...1..5..32.94....5...32
micro-demo: $(VENV)/installed
	@$(BIN)/trm-export c artifacts/sudoku9.keras --precision int8 -o build/micro-demo
	@$(BIN)/python runtimes/micro/emulated.py build/micro-demo $(PUZZLE)

# TensorFlow 2.18 has no wheel for Python 3.13: without an older one there is nothing to test.
test-oldest:
	@for python in $(if $(PYTHON),"$(PYTHON)",$(OLDEST_CANDIDATES)); do \
	    "$$python" -c "$(call supported,$(OLDEST_NEWEST))" >/dev/null 2>&1 || continue; \
	    exec $(MAKE) --no-print-directory test-oldest-here; \
	done; \
	echo "Skipped: Keras 3.8 with TensorFlow 2.18 needs Python 3.11 or 3.12, and there is none$(if $(PYTHON), (PYTHON=$(PYTHON)),)."

test-oldest-here: $(OLDEST)/installed
	@$(OLDEST)/bin/python -m pytest -n $(WORKERS) --dist loadfile --durations=$(DURATIONS) $(OLDEST_TESTS)

# What the coming releases of Keras, TensorFlow and LiteRT break. Not a part of .ci/run, because
# a nightly release may be at fault itself.
test-next: $(NEXT)/installed
	@$(NEXT)/bin/python -m pip --disable-pip-version-check --quiet install --upgrade $(NIGHTLIES)
	@$(NEXT)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	    --durations=$(DURATIONS) --ignore tests/devices --deselect tests/test_sbom.py

# What fails is kept in tests/fuzz/failures, with the command that tries it again.
fuzz: $(VENV)/installed-dev
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES)
	@$(BIN)/python -m tests.fuzz.random_models --minutes $(MINUTES)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

build: sbom
	@$(BIN)/python -m build --outdir dist runtimes >/dev/null
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@ls dist

sbom: $(VENV)/installed-dev
	@$(BIN)/python benchmarks/make_sbom.py dist

clean:
	rm -rf $(VENV) $(OLDEST) $(NEXT) .mypy_cache .pytest_cache .ruff_cache

# Both distributions go into one command, so that trm-runtime is found here and not on an index.
$(VENV)/installed: $(PROJECTS) | $(BIN)/python
	@echo "Installing trm-export and trm-runtime into $(VENV) (TensorFlow is large: some minutes) ..."
	@$(PIP) --editable "./runtimes[onnx]" --editable .
	@touch $@

$(VENV)/installed-dev: $(PROJECTS) | $(BIN)/python
	@echo "Installing trm-export, trm-runtime and the test tools into $(VENV) (some minutes) ..."
	@$(PIP) --editable "./runtimes[onnx,openvino]" --editable ".[dev]"
	@touch $(VENV)/installed $@

$(VENV)/installed-docs: | $(BIN)/python
	@$(PIP) "mkdocs-material>=9.5"
	@touch $@

$(OLDEST)/installed: $(PROJECTS) | $(OLDEST)/bin/python
	@echo "Installing Keras 3.8, TensorFlow 2.18 and the test tools into $(OLDEST) (some minutes) ..."
	@$(OLDEST)/bin/python -m pip --disable-pip-version-check --quiet install $(OLDEST_PAIR) \
	    "jsonschema>=4.18" "pytest>=8.3" "pytest-xdist>=3.6" --editable "./runtimes[onnx]" --editable .
	@touch $@

# The releases go first, because the nightly ones are of other names in the same folders.
$(NEXT)/installed: $(PROJECTS) | $(NEXT)/bin/python
	@echo "Installing $(NIGHTLIES) and the test tools into $(NEXT) (some minutes) ..."
	@$(NEXT)/bin/python -m pip --disable-pip-version-check --quiet install \
	    --editable "./runtimes[onnx]" --editable ".[dev]"
	@$(NEXT)/bin/python -m pip --disable-pip-version-check --quiet uninstall --yes \
	    keras tensorflow ai-edge-litert
	@$(NEXT)/bin/python -m pip --disable-pip-version-check --quiet install --force-reinstall --no-deps \
	    $(NIGHTLIES)
	@touch $@

$(NEXT)/bin/python:
	@$(MAKE) --no-print-directory VENV=$(NEXT) NEXT=.none $@

$(OLDEST)/bin/python:
	@$(MAKE) --no-print-directory VENV=$(OLDEST) OLDEST=.none NEWEST=$(OLDEST_NEWEST) \
	    CANDIDATES="$(OLDEST_CANDIDATES)" $@

# Debian's python3 has no ensurepip without python3-venv; its pip can install into the bare
# environment from outside.
$(BIN)/python:
	@set -eu; \
	for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	    "$$python" -c "$(call supported,$(NEWEST))" >/dev/null 2>&1 || continue; \
	    echo "Creating $(VENV) with $$("$$python" --version) ..."; \
	    rm -rf $(VENV); \
	    "$$python" -m venv $(VENV) >/dev/null 2>&1 && exit 0; \
	    rm -rf $(VENV); \
	    "$$python" -m venv --without-pip $(VENV) && \
	    "$$python" -m pip --python $@ --disable-pip-version-check --quiet install pip && exit 0; \
	    rm -rf $(VENV); \
	    echo "$$python cannot create a virtual environment with pip; trying the next one." >&2; \
	done; \
	echo "No usable Python 3.11 to 3.$(NEWEST) found$(if $(PYTHON), (PYTHON=$(PYTHON)),); install one with pip (Debian: python3 python3-pip), or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1
