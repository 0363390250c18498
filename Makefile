# make demo   trains on the embedded sample, evaluates, exports, predicts
# make test   checks style and types, runs the tests
# make docs   writes docs/flags.md
# make soak   trains each task in each layout, MINUTES=10 each, and fails where threads, files, memory or the time of a step grow
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/demo
MINUTES := 10

.PHONY: demo test docs soak clean

$(INSTALLED): setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip  # the one of Python 3.10 tries versions for many minutes
	PYTHONWARNINGS=ignore::UserWarning $(BIN)/python -m pip install --quiet --editable .[test]  # setuptools warns of editable installs
	touch $@

demo: $(INSTALLED)
	rm -rf $(DEMO)
	$(BIN)/python -m trainer.prepare --task=forecast --source=sample --output_dir=$(DEMO)/data
	$(BIN)/python -m trainer.train --recipe=forecast_sample --data_dir=$(DEMO)/data --model_dir=$(DEMO)/model
	$(BIN)/python -m trainer.evaluate --model_dir=$(DEMO)/model --data_dir=$(DEMO)/data --report_dir=$(DEMO)/report
	$(BIN)/python -m trainer.export --model_dir=$(DEMO)/model --export_dir=$(DEMO)/export
	$(BIN)/python -m trainer.predict --export_dir=$(DEMO)/export --input=$(DEMO)/data/sample.csv --output=$(DEMO)/forecast.csv --plot=$(DEMO)/forecast.png

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file=tests/mypy.ini tests benchmarks
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --durations=30 --cov --cov-report=term

docs: $(INSTALLED)
	$(BIN)/python -m docs.make_flags

soak: $(INSTALLED)
	$(BIN)/python benchmarks/soak.py --minutes=$(MINUTES)

clean:
	rm -rf $(VENV) runs build *.egg-info
