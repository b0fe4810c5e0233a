"""The phrases that are found, each beside the standard wording, which is not."""

import pytest

from tools import check_prose

NOT_BUT = [
    ("60 rows", "60 samples"),
    ("n_rows", "n_samples"),
    ("Rows of data", "Samples"),
    ("rows that weigh something", "samples with nonzero weight"),
    ("samples that are held out", "samples of the validation set"),
    ("hold-out samples", "validation samples"),
    ("a holdout", "a validation set"),
    ("a share of the data", "a fraction of the data"),
    ("x is no splitter", "x is not a valid splitter"),
    ("x is none of them", "x must be one of them"),
    ("Refuse a negative value", "Raise if the value is negative"),
    ("is refused", "is rejected"),
    ("Give an int", "Pass an int"),
    ("nobody closes it", "the search does not close it"),
    ("Whoever calls it", "The caller"),
    ("tells why", "reports why"),
    ("says so", "reports it"),
    ("asks for it", "requests it"),
    ("built anew", "built from scratch"),
    ("waits for ever", "waits indefinitely"),
    ("goes on", "continues"),
    ("puts back the weights", "restores the weights"),
    ("written down", "serialized"),
    ("steps an epoch", "steps per epoch"),
    ("one batch a call", "one batch per call"),
    ("once a fit", "once per fit"),
    ("lower the rate", "lower the learning rate"),
    ("the least value", "the minimum value"),
    ("own layers", "custom layers"),
    ("a class of its own", "a custom class"),
    ("counted from 0", "0-based"),
    ("a NaN is let pass", "a NaN is ignored"),
    ("moments that led astray", "moments that caused the increase"),
    ("a hair less", "less by a rounding error"),
    ("has the last word", "takes precedence"),
    ("fits take turns", "fits are serialized by a lock"),
    ('"""What is checked of X."""', '"""Validates X."""'),
]


@pytest.mark.parametrize(("phrase", "standard"), NOT_BUT)
def test_a_phrase_is_found_and_the_standard_wording_is_not(phrase, standard):
    assert list(check_prose.find(phrase))
    assert not list(check_prose.find(standard))


def test_every_phrase_has_a_sample_here():
    replacements = {r for phrase, _ in NOT_BUT for _, _, r in check_prose.find(phrase)}
    assert replacements == set(check_prose.PHRASES.values())


@pytest.mark.parametrize("standard", ["at least 0.1", "is no longer", "give a name", "growth"])
def test_standard_wording_that_resembles_a_phrase_is_not_found(standard):
    assert not list(check_prose.find(standard))


def test_each_hit_has_its_line_and_its_replacement():
    assert list(check_prose.find("samples\nthe rate\n")) == [(2, "the rate", "the learning rate")]


def test_code_is_skipped_in_markdown_alone():
    assert not list(check_prose.find("`n_rows` became `n_samples`", ".md"))
    assert list(check_prose.find("# `n_rows` became `n_samples`", ".py"))
    assert list(check_prose.find("`X` is no array", ".md"))


def test_files_with_phrases_fail_the_check_and_are_named(tmp_path, capsys):
    (tmp_path / "module.py").write_text("# built anew\n", encoding="utf-8")
    (tmp_path / "data.json").write_text("built anew\n", encoding="utf-8")
    assert check_prose.main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert output == f"{tmp_path / 'module.py'}:1: 'anew': use again, from scratch\n"


def test_files_without_phrases_pass_the_check(tmp_path, capsys):
    (tmp_path / "module.py").write_text("# built from scratch\n", encoding="utf-8")
    assert check_prose.main([str(tmp_path)]) == 0
    assert not capsys.readouterr().out
