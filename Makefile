# Two commands do all the set-up on a fresh Linux machine with Python 3.10 or newer and no GPU:
#   make demo   reconstructs the sample scan
#   make test   runs all checks and the whole default test suite
# Both work from any folder: make -C PATH demo

PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin
# Written last, so that an interrupted installation is made again.
READY := $(ENV)/ready

.PHONY: demo test slow clean

demo: $(READY)
	@mkdir -p demo
	@$(BIN)/firenet recon sample_data/brain_8coil.h5 -o demo/brain.nii.gz \
		--reference sample_data/brain_8coil_reference.nii.gz --overwrite

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

slow: $(READY)
	$(BIN)/python -m pytest -m slow

$(READY): pyproject.toml constraints.txt
	@rm -f $(READY)
	$(PYTHON) -m venv --clear $(ENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(ENV) demo
