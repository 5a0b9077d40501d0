# Every target does its own set-up: a .venv in the checkout, installed under constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow check bench docs clean

demo: $(READY)          ## train four small networks, write runs/demo/report.html (about two minutes on two cores, after the set-up)
	$(BIN)/sightline study long-range --demo --out runs/demo

test: $(READY) check    ## everything that continuous integration runs
	$(BIN)/python -m pytest -m "not slow and not compile" --numprocesses 2 --jaxtyping-packages=sightline,beartype.beartype
	$(BIN)/python -m pytest -m "compile and not slow"

test-slow: $(READY)     ## the learning tests, minutes each
	$(BIN)/python -m pytest -m slow

check: $(READY)         ## lint, format, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py

bench: $(READY)         ## time and peak memory of every operator, correctness first
	$(BIN)/sightline bench ops

docs: $(READY)          ## redraw the pictures and tables in docs/ from their commands
	$(BIN)/python docs/build.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[develop]'
	touch $(READY)

clean:
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache
