# Each target sets up all that it needs, from nothing, in a virtual environment of this folder.
PYTHON ?= python3
VENV ?= .venv
# The extra that installs TensorFlow; macOS needs TENSORFLOW=tensorflow.
TENSORFLOW ?= tensorflow-cpu
# A file of versions that the environment is limited to. Where they have no wheels for this Python,
# that is an error at once, and nothing is compiled for an hour first.
CONSTRAINTS ?=
# Test processes. Each imports TensorFlow and takes about 1 GB.
WORKERS ?= 2

BIN = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS)
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: coverage dist example examples hooks lint quick test test-oldest versions

example: $(VENV)/ready
	$(BIN)/python examples/quickstart.py

# The whole suite.
test: versions
	$(PYTEST)

# A subset on the oldest supported packages, an error if they cannot be installed: the first test
# of each file, and all tests of the private parts of other libraries. For the whole suite:
# make test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt
test-oldest:
	$(MAKE) versions VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt
	.venv-oldest/bin/python -m pytest -n $(WORKERS) --quick
	.venv-oldest/bin/python -m pytest -n $(WORKERS) tests/repairs

# The first test of each file, in under two minutes on two cores, and a proof that these call
# functions of every module.
quick: versions
	$(PYTEST) --quick --cov --cov-report=
	$(BIN)/python tools/check_quick.py

# The whole suite, with the lines and branches that it leaves out.
coverage: versions
	$(PYTEST) --cov --cov-report=term

# The hooks in .pre-commit-config.yaml call the same programs; tests/tools/ compares the two.
lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python tools/check_prose.py

examples: $(VENV)/ready
	for script in examples/*.py; do $(BIN)/python $$script || exit 1; done

# Runs the linters at every commit.
hooks: $(VENV)/ready
	$(BIN)/pre-commit install

# The files to upload to the Python Package Index, checked.
dist: $(VENV)/ready
	$(BIN)/python -m pip install --quiet ".[release]"
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

versions: $(VENV)/ready
	$(BIN)/python -c "import skguard; skguard.show_versions()"

$(VENV)/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[$(TENSORFLOW),test,lint]" \
		$(if $(CONSTRAINTS),--constraint $(CONSTRAINTS) --only-binary :all:)
	touch $@
