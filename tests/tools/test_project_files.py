"""Agreement of Makefile, CI, hooks, constraints, the layout of tests and that of the package."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
YAML_FILES = [
    ROOT / ".pre-commit-config.yaml",
    *sorted((ROOT / ".github").rglob("*.yml")),
]
PACKAGES = sorted(path.parent.relative_to(ROOT) for path in ROOT.glob("skguard/**/__init__.py"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def parse(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def recipes():
    """Return the commands of each target in the Makefile."""
    rules = re.findall(r"^([\w-]+):.*\n((?:\t.*\n)*)", read("Makefile"), re.MULTILINE)
    return {target: commands.replace("\t", "").splitlines() for target, commands in rules}


def jobs():
    return parse(ROOT / ".github/workflows/tests.yml")["jobs"]


def targets_of_workflow():
    """Return the targets that each job of the workflow makes."""
    targets = {}
    for name, job in jobs().items():
        runs = " ".join(step.get("run", "") for step in job["steps"])
        made = set(re.findall(r"make ([a-z-]+)", runs))
        if "make ${{ matrix.target }}" in runs:
            made |= {entry["target"] for entry in job["strategy"]["matrix"]["include"]}
        targets[name] = made
    return targets


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_yaml_files_parse(path):
    assert isinstance(parse(path), dict)


def test_both_ways_of_ci_make_the_same_targets():
    (local,) = re.findall(r"^for target in ([a-z -]+); do$", read(".ci/run"), re.MULTILINE)
    public = set().union(*targets_of_workflow().values())
    assert public == {*local.split(), "coverage"}
    assert public <= recipes().keys()


def test_each_job_of_the_workflow_makes_something():
    assert all(targets_of_workflow().values())


def test_only_linux_decides_and_other_systems_may_fail():
    for entry in jobs()["suite"]["strategy"]["matrix"]["include"]:
        assert entry["os"].startswith("ubuntu") or entry["untried"]


def test_make_and_the_hooks_run_the_same_linters():
    hooks = {
        hook["entry"].removeprefix(".venv/bin/")
        for repo in parse(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repo["hooks"]
    }
    for command in recipes()["lint"]:
        linter = command.removeprefix("$(BIN)/").removesuffix(" --check .").removesuffix(" .")
        assert any(entry.split(" --")[0] == linter for entry in hooks), command


def test_hooks_run_what_pyproject_toml_installs():
    for repo in parse(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/")


def test_the_oldest_packages_are_the_lower_bounds():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads(read("pyproject.toml"))["project"]
    tensorflow = project["optional-dependencies"]["tensorflow-cpu"]
    bounds = dict(
        re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        for requirement in [*project["dependencies"], *tensorflow]
    )
    oldest = dict(re.findall(r"^([\w-]+)==([\d.]+)\.\*$", read("constraints-oldest.txt"), re.M))
    major_only = {name: f"{bound}.0" for name, bound in bounds.items() if "." not in bound}
    assert {name: oldest.get(name) for name in bounds} == bounds | major_only


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_each_package_has_its_tests_in_a_folder_of_the_same_name(package):
    folders = [part.removeprefix("_") for part in package.parts[1:]]
    assert list(Path(ROOT, "tests", *folders).glob("test_*.py"))


@pytest.mark.parametrize(
    ("importing", "not_imported"),
    [
        ("exceptions", r"skguard\b"),
        ("_repairs", r"skguard\.(?!_repairs|exceptions)"),
        ("callbacks", r"skguard\.(_parameters|_fit|_estimators|model_selection)"),
        ("targets", r"skguard\.(_parameters|_engine|_fit|_estimators|model_selection)"),
        ("schedules", r"skguard\.(_parameters|_fit|_estimators|model_selection)"),
        ("_engine", r"skguard\.(_parameters|_fit|_estimators|model_selection)"),
        ("_parameters", r"skguard\.(_fit|_estimators|model_selection)"),
        ("_fit", r"skguard\.(_estimators|model_selection)"),
        ("_estimators", r"skguard\.model_selection"),
    ],
)
def test_imports_point_in_one_direction(importing, not_imported):
    modules = [*ROOT.glob(f"skguard/{importing}.py"), *ROOT.glob(f"skguard/{importing}/**/*.py")]
    assert modules
    for module in modules:
        assert not [name for name in imported_names(module) if re.match(not_imported, name)], module


def imported_names(module):
    """Yield the full names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
