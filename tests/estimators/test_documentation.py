import inspect
import re

import pytest

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from skguard._estimators.documentation import documented
from tests.models import build_classifier, build_regressor

ESTIMATORS = (GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor)
METHODS = ("fit", "partial_fit", "initialize", "predict", "score", "get_params", "set_params")

every_estimator = pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
every_method = pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls in ESTIMATORS for name in METHODS]
    + [(GuardedKerasClassifier, "predict_proba")],
    ids=lambda value: getattr(value, "__name__", value),
)


def sections_of(documented_object):
    """Split a numpydoc docstring into its sections, by their underlined titles."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(documented_object), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries_of(section):
    """The type of each entry of a numpydoc section, by name."""
    headers = re.findall(r"^(\S.*?)(?: : (.*))?$", section, flags=re.M)
    return {name: kind for names, kind in headers for name in names.split(", ")}


def default_as_written(parameter):
    if parameter.default == (Exception,):
        return "(Exception,)"
    return repr(parameter.default).replace("'", '"')


@every_estimator
def test_each_parameter_of_the_constructor_is_documented_with_its_default(cls):
    entries = entries_of(sections_of(cls)["Parameters"])
    signature = inspect.signature(cls).parameters
    assert list(entries) == [*list(signature)[:-1], "**kwargs"]
    for name in list(signature)[:-1]:
        assert entries[name].endswith(f", default={default_as_written(signature[name])}")


@every_estimator
def test_each_parameter_and_attribute_has_a_description(cls):
    for title in ("Parameters", "Attributes"):
        section = sections_of(cls)[title]
        for name in entries_of(section):
            entry = re.search(rf"^{re.escape(name)} : .+\n    \S", section, flags=re.M)
            assert entry, f"{name} has no description"


def build_for_base(meta):
    return build_regressor(meta | {"n_outputs_": 1})


@pytest.mark.parametrize(
    ("cls", "build", "loss"),
    [
        (GuardedKerasBase, build_for_base, "mse"),
        (GuardedKerasClassifier, build_classifier, "sparse_categorical_crossentropy"),
        (GuardedKerasRegressor, build_regressor, "mse"),
    ],
)
def test_each_attribute_that_a_fit_creates_is_documented(cls, build, loss, blobs):
    pandas = pytest.importorskip("pandas")
    X, y = blobs
    estimator = cls(build, loss=loss, validation_fraction=0.2, verbose=0)
    estimator.fit(pandas.DataFrame(X, columns=list("abcd")), y)
    created = {name for name in vars(estimator) if name.endswith("_") and name[0] != "_"}
    assert {"model_", "history_", "feature_names_in_"} <= created
    assert created - entries_of(sections_of(cls)["Attributes"]).keys() == set()


@every_method
def test_methods_are_documented_by_the_package_itself(cls, name):
    method = getattr(cls, name)
    assert method.__module__.startswith("skguard.")
    sections = sections_of(method)
    assert {"Parameters", "Returns"} <= sections.keys()
    if name not in ("get_params", "set_params"):
        assert "samples" in inspect.getdoc(method).lower()
        assert "scikeras" not in inspect.getdoc(method) or name == "initialize"


@every_method
def test_each_argument_of_a_method_is_documented(cls, name):
    method = getattr(cls, name)
    entries = entries_of(sections_of(method)["Parameters"])
    arguments = dict(inspect.signature(method).parameters)
    del arguments["self"]
    stars = {inspect.Parameter.VAR_KEYWORD: "**"}
    assert list(entries) == [stars.get(a.kind, "") + name for name, a in arguments.items()]


def test_a_parameter_without_documentation_is_an_error():
    class Undocumented:
        """{parameters}"""

        def __init__(self, unheard_of=1):
            self.unheard_of = unheard_of

    with pytest.raises(KeyError, match="unheard_of"):
        documented()(Undocumented)


def test_texts_of_the_class_take_precedence():
    class Documented:
        """A class.

        {parameters}

        {attributes}
        """

        def __init__(self, tol=0.5):
            self.tol = tol

        def fit(self):
            """Fit in another way."""

        def score(self): ...

        def predict(self): ...

    documented(attributes={"extra_": "int\n    More."}, methods={"score": "Score it."})(Documented)
    assert list(entries_of(sections_of(Documented)["Parameters"])) == ["tol"]
    assert "tol : float, default=0.5" in Documented.__doc__
    assert next(iter(entries_of(sections_of(Documented)["Attributes"]))) == "extra_"
    assert Documented.fit.__doc__ == "Fit in another way."
    assert inspect.getdoc(Documented.score) == "Score it."
    assert inspect.getdoc(Documented.predict).startswith("Predict")
