"""Finds phrases that are not the field's usual ones; see "Prose" in CONTRIBUTING.md.

Run without arguments, it reads the package, the tests and the documentation.
"""

import re
import sys
from pathlib import Path

PHRASES = {
    r"\brows?\b|\bn_rows\b": "sample, n_samples; entry (of a table)",
    r"\bthat weighs?\b": "with nonzero weight",
    r"\b(hold|holds|held|holding)[- ]?out\b|\bhold-?outs?\b": "validation set; set aside",
    r"\b(a|the|no) share of\b": "fraction of, proportion of",
    r"\b(is|are|was|were) no\b(?! longer)": "is not a valid ..., must be ..., got ...",
    r"\bis none of\b": "must be one of ..., got ...",
    r"\b[Rr]efus(e|es|ed)\b": "raise if, is rejected",
    r"(?<![\w`])Give\b": "Pass",
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
    r"(?<!at )\bleast\b": "minimum, fewest",
    r"\bown layers?\b|\bof the user's\b|\bclass(es)? of (its|their|your) own\b": "custom, "
    "user-defined",
    r"\bcounted from 0\b": "0-based",
    r"\b(let|lets) pass\b|\bled astray\b|\ba hair\b|\blast word\b": "ignored; caused; takes "
    "precedence",
    r"\b(take|takes) turns\b": "are serialized by a lock",
    r'"""What\b': "a noun phrase, or a verb in the third person",
}

READ = ("skguard", "tests", "benchmarks", "examples", "docs", "README.md", "CONTRIBUTING.md")
NOT_READ = Path(__file__).name


def main(paths: list[str]) -> int:
    n_found = 0
    for path in sorted(set(_files(paths or READ))):
        text = path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), start=1):
            # A name in code, such as one that no longer exists, may be quoted.
            prose = re.sub(r"`[^`]*`", "``", line) if path.suffix == ".md" else line
            for phrase, instead in PHRASES.items():
                if found := re.search(phrase, prose):
                    n_found += 1
                    sys.stdout.write(f"{path}:{number}: {found[0]!r}: use {instead}\n")
    return n_found > 0


def _files(paths):
    for path in map(Path, paths):
        found = [path] if path.is_file() else path.rglob("*")
        yield from (p for p in found if p.suffix in (".py", ".md") and p.name != NOT_READ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
