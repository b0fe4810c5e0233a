"""Proves that the quick tests run code of every module of the package.

Reads what coverage.py recorded of them, see `make quick` in the Makefile, and prints each module
of which no statement within a function was run. Importing a module runs none.
"""

import ast
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import coverage

PACKAGE = "skguard"


def main() -> int:
    data = coverage.CoverageData()
    data.read()
    lines_run = {Path(name).resolve(): data.lines(name) or [] for name in data.measured_files()}
    modules = sorted(Path(PACKAGE).resolve().rglob("*.py"))
    missed = [
        module
        for module in modules
        if not is_touched(module.read_text(encoding="utf-8"), lines_run.get(module, []))
    ]
    for module in missed:
        sys.stdout.write(f"{module}: none of its functions is called by the quick tests\n")
    sys.stdout.write(f"{len(modules) - len(missed)} of {len(modules)} modules are touched\n")
    return len(missed) > 0


def is_touched(source: str, lines_run: Collection[int]) -> bool:
    """Return whether `lines_run` has a line within a function of `source`, or there is none."""
    statements = set(_statements_in_functions(ast.parse(source)))
    return not statements or not statements.isdisjoint(lines_run)


def _statements_in_functions(tree: ast.Module) -> Iterator[int]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                is_text = isinstance(statement, ast.Expr) and isinstance(
                    statement.value, ast.Constant
                )
                if not is_text:
                    yield statement.lineno


if __name__ == "__main__":
    sys.exit(main())
