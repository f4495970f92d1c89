# Every target works in .venv, which is made when first needed and updated when pyproject.toml changes, or the code of
# JupyterLab's extension, of which an installation holds a copy.
#
#   make lab TORCH_INDEX=cpu                     PyTorch for the CPU only, ten times smaller on Linux
#   make lab EXTRAS=lab                          no PyTorch: the notebooks that train a classifier then say so
#   make test PYTHON=python3.12                  with another Python; run `make clean` before changing it

PYTHON ?= python3
EXTRAS ?= lab,torch,clip,xrv
TORCH_INDEX ?=
LAB_ARGS ?=
SITE ?= site
PYTEST_ARGS ?=
AT_ONCE ?= -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# PyTorch's own public index of builds without CUDA, which are ten times smaller on Linux.
ifeq ($(TORCH_INDEX),cpu)
INDEX := https://download.pytorch.org/whl/cpu
else
INDEX := $(TORCH_INDEX)
endif

VENV := .venv
RUN := $(VENV)/bin/python

# Python compiles a module when it is first imported. Letting pip compile all of them takes longer than the rest of the
# installation, and most are never used. (Where writing compiled files is off, every start would compile anew.)
unexport PYTHONDONTWRITEBYTECODE
PIP := $(RUN) -m pip --disable-pip-version-check install -q --no-compile $(if $(INDEX),--extra-index-url "$(INDEX)")

comma := ,
AUDITS := $(VENV)/.installed
INSTALLED := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))$(if $(INDEX),-indexed)
TESTABLE := $(VENV)/.installed-for-tests
COPIED := pyproject.toml $(shell find widgets -type f)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lab demo notebooks-html test lint browser clean

help:
	@echo "make lab             the demo's findings, then JupyterLab on the first notebook, in a copy of the notebooks"
	@echo "make demo            the demo's findings and report, no server"
	@echo "make notebooks-html  run the notebooks and write them as web pages, in site/"
	@echo "make test            ruff, mypy and all tests, those in a browser and of the notebooks included"
	@echo "make lint            ruff and mypy only"
	@echo "make clean           remove .venv, caches, the demo's output and the site; your notebooks stay"
	@echo
	@echo "variables:   PYTHON=python3.12   EXTRAS=lab (no PyTorch)   TORCH_INDEX=cpu (or the address of an index)"
	@echo '             LAB_ARGS="--instructor --no-browser -- --port 9999"   PYTEST_ARGS="-x tests/unit"   SITE=site'

# The demo comes first, since it needs neither JupyterLab nor PyTorch, whose installation takes longer than an audit.
lab: demo $(INSTALLED)
	$(RUN) -m mmaudit.cli lab $(LAB_ARGS)

demo: $(AUDITS)
	$(RUN) -m mmaudit.cli demo

notebooks-html: $(INSTALLED)
	$(RUN) -m mmaudit.cli notebooks-html '$(SITE)'

# One run of pytest for everything, so that its last line counts every test.
test: $(TESTABLE) lint browser
	$(RUN) -m pytest $(or $(PYTEST_ARGS),$(AT_ONCE) --nbmake tests mmaudit notebooks)

lint: $(TESTABLE)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# The tests drive the Chromium that the system has. Debian's package is taken where apt-get can install it; elsewhere
# Playwright downloads its own.
browser: $(TESTABLE)
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; \
	then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release; \
	then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	else $(RUN) -m playwright install chromium; \
	fi

$(AUDITS): pyproject.toml | $(VENV)/.made
	$(PIP) -e .
	@touch '$@'

$(INSTALLED): $(COPIED) | $(VENV)/.made
	@echo "installing what the notebooks need: $(EXTRAS)"
	$(PIP) -e '.[$(EXTRAS)]'
	@touch '$@'

$(TESTABLE): $(COPIED) | $(VENV)/.made
	$(PIP) -e '.[lab,torch,clip,hf,xrv,dicom,remote,test]'
	@touch '$@'

$(VENV)/.made:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "make: there is no '$(PYTHON)'. Install Python 3.10 or newer, or name yours: make $(MAKECMDGOALS) PYTHON=..." >&2; \
	  exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: '$(PYTHON)' does not run or is older than 3.10. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || { echo "making $(VENV)"; '$(PYTHON)' -m venv --clear $(VENV); }
	@touch '$@'

clean:
	rm -rf $(VENV) build dist demo-audit site test-results .pytest_cache .mypy_cache .ruff_cache
	find mmaudit tests notebooks -name __pycache__ -type d -exec rm -rf {} +
