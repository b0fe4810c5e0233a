"""Finds phrases that are not the field's usual ones; see "Prose" in CONTRIBUTING.md.

Reads the files and folders that are given, by default the whole project: Python and Markdown.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PHRASES = {
    r"\brows?\b|\bn_rows\b": "sample, n_samples; entry (of a table)",
    r"\bthat weighs?\b": "with nonzero weight",
    r"\b(hold|holds|held|holding)[- ]?out\b|\bhold-?outs?\b": "validation set; set aside",
    r"\b(a|the|no) share of\b": "fraction of, proportion of",
    r"\b(is|are|was|were) no\b(?! longer)": "is not a valid ..., must be ..., got ...",
    r"\bis none of\b": "must be one of ..., got ...",
    r"\brefus(e|es|ed)\b": "raise if, is rejected",
    r"(?<![\w`])(?-i:Give)\b": "Pass",
    r"\b(whoever|nobody|everyone)\b": "name the component",
    r"\b(tell|tells|told)\b": "report, notify",
    r"\b(say|says) so\b|\basks? for it\b": "report, request; state the fact",
    r"\banew\b": "again, from scratch",
    r"\bfor ever\b": "indefinitely",
    r"\b(go|goes|going|went) on\b": "continue",
    r"\b(put|puts|putting) back\b": "restore",
    r"\b(write|writes|written|writing) down\b": "serialize",
    r"\b(one|once|steps?|batch(es)?|seconds?|times?|values?|lines?|units?|columns?|weights?) "
    r"an? (epoch|batch|call|class|fit|sample|second|split|step)\b": "per epoch, per batch",
    r"\bthe rate\b": "the learning rate",
    r"(?<!at )\bleast\b(?! populated class)": "minimum, fewest",
    r"\bown layers?\b|\bof the user's\b|\bclass(es)? of (its|their|your) own\b": "custom, "
    "user-defined",
    r"\bcounted from 0\b": "0-based",
    r"\b(let|lets) pass\b|\bled astray\b|\ba hair\b|\blast word\b": "ignored; caused; takes "
    "precedence",
    r"\b(take|takes) turns\b": "are serialized by a lock",
    r'"""What\b': "a noun phrase, or a verb in the third person",
}

READ = (
    "skguard",
    "tests",
    "tools",
    "benchmarks",
    "examples",
    "docs",
    ".github",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
# They list the phrases themselves.
NOT_READ = ("check_prose.py", "test_check_prose.py")


def main(paths: list[str]) -> int:
    for name in paths:
        if not Path(name).exists():
            sys.exit(f"{name} does not exist")
    n_found = 0
    for path in sorted(set(_files(paths or READ))):
        for number, found, instead in find(path.read_text(encoding="utf-8"), path.suffix):
            n_found += 1
            sys.stdout.write(f"{path}:{number}: {found!r}: use {instead}\n")
    return n_found > 0


def find(text: str, suffix: str = ".py") -> Iterator[tuple[int, str, str]]:
    """Yield the line number of each phrase in `text`, the phrase, and what replaces it.

    In Markdown, text in backticks is skipped: a name in code, such as one of an earlier version,
    may be quoted.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        prose = re.sub(r"`[^`]*`", "``", line) if suffix == ".md" else line
        for phrase, instead in PHRASES.items():
            if found := re.search(phrase, prose, re.IGNORECASE):
                yield number, found[0], instead


def _files(paths: Iterable[str]) -> Iterator[Path]:
    for path in map(Path, paths):
        found = [path] if path.is_file() else path.rglob("*")
        yield from (p for p in found if p.suffix in (".py", ".md") and p.name not in NOT_READ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
