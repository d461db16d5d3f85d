# make study   install into .venv and answer the headline question on this machine
# make test    install into .venv and run the tests
# make check   formatting, lint, types and tests
# make integrations         ruleshift inside other tools, each in an environment of its own
# make integrations-quick   those that install fast, on top of .venv
#
# Needs python3 (3.11 or newer) with venv, and make.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

export PIP_ROOT_USER_ACTION := ignore
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: venv study test check integrations integrations-quick clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt tests/maps.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is not installed. On Debian or Ubuntu: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "ruleshift needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    "Install a newer one and name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "Installing ruleshift and what it needs into .venv (once; some minutes, most of them torch) ..."
	@$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	@$(BIN)/pip download --quiet --no-deps --only-binary :all: --platform manylinux2014_x86_64 --python-version 3.11 \
	  --dest .venv/maps -r tests/maps.txt
	@touch $@

study: venv
	$(BIN)/ruleshift study headline --points 2 --further 1 --n 100 --set gp-l.rl.updates=12 --set gp-l.sft.steps=120 \
	  --set virl-l.rl.updates=12 --set virl-l.sft.steps=50 --set other_data=none --set matched_rates=none \
	  --set measurement.kl_most=256 --out runs/headline

# On every core, four at most: a worker takes about 1 GB.
test: venv
	$(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

check: venv
	scripts/check

integrations:
	PYTHON=$(PYTHON) scripts/check-integrations

integrations-quick: venv
	scripts/check-integrations --quick

# Leaves .venv and runs/ alone.
clean:
	rm -rf build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
