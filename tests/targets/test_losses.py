"""The table of losses has every loss of Keras, found by name, class, object or function."""

import functools
import inspect

import keras
import pytest

from skguard.targets._losses import LOSSES, Outputs, Takes, format_of

NOT_LOSSES = {"Loss", "deserialize", "get", "serialize"}
PUBLIC = sorted(n for n in dir(keras.losses) if not n.startswith("_") and n not in NOT_LOSSES)
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(keras.losses, name))]
FUNCTIONS = [name for name in PUBLIC if name not in CLASSES]
# Keras 3.15 does not find its newest loss by its name.
NAMED = set(PUBLIC) - {
    "CategoricalGeneralizedCrossEntropy",
    "categorical_generalized_cross_entropy",
}
ALIASES = {
    "bce": "binary_crossentropy",
    "BCE": "binary_crossentropy",
    "kld": "kl_divergence",
    "KLD": "kl_divergence",
    "mae": "mean_absolute_error",
    "MAE": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "MAPE": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "MSE": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
    "MSLE": "mean_squared_logarithmic_error",
}
WITH_LOGITS = [name for name in CLASSES if "from_logits" in vars(getattr(keras.losses, name)())]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_loss_of_keras_is_in_the_table(name):
    loss = getattr(keras.losses, name)
    assert callable(loss), f"keras.losses.{name} is new, and neither a class nor a function"
    assert format_of(loss).is_known, (
        f"keras.losses.{name} is not in LOSSES of skguard/targets/_losses.py: add the form of y "
        "that it takes and what the outputs mean to it"
    )


def test_the_walk_through_keras_finds_losses_of_each_kind():
    assert len(CLASSES) >= 20
    assert len(FUNCTIONS) >= 20
    assert {"BinaryCrossentropy", "CTC", "KLDivergence"} <= set(CLASSES)


def test_the_table_has_nothing_that_keras_never_had():
    introduced_later = {"categorical_generalized_cross_entropy"}
    assert LOSSES.keys() - set(FUNCTIONS) <= introduced_later


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_name_and_its_function_and_a_partial_are_one_loss(name):
    function = getattr(keras.losses, name)
    forms = [function, functools.partial(function)]
    if name in NAMED:
        forms += [name, keras.losses.get(name)]
    assert {format_of(form).name for form in forms} == {name}
    assert {(format_of(form).takes, format_of(form).outputs) for form in forms} == {LOSSES[name]}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_and_its_name_and_an_object_are_one_loss(name):
    cls = getattr(keras.losses, name)
    forms = [format_of(form) for form in (cls, cls(), *([name] if name in NAMED else []))]
    assert all(form == forms[0] for form in forms)
    assert LOSSES[forms[0].name] == (forms[0].takes, forms[0].outputs)
    assert forms[0].name.replace("_", "") == name.lower()


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_loss_that_keras_finds_under_it(alias, name):
    assert format_of(alias).name == name
    assert keras.losses.get(alias) is getattr(keras.losses, name)


def test_no_loss_is_compared_with_what_it_does_not_take():
    numbers = {name for name, (takes, _) in LOSSES.items() if takes is Takes.CLASS_NUMBERS}
    assert numbers == {"sparse_categorical_crossentropy", "categorical_generalized_cross_entropy"}
    whole = {name for name, (takes, _) in LOSSES.items() if takes is Takes.DISTRIBUTION}
    assert {name for name in LOSSES if name.startswith("categorical")} - numbers <= whole


@pytest.mark.parametrize("name", WITH_LOGITS)
@pytest.mark.parametrize("from_logits", [False, True])
def test_from_logits_of_an_object_is_known(name, from_logits):
    loss = getattr(keras.losses, name)(from_logits=from_logits)
    expected = Outputs.LOGITS if from_logits else Outputs.PROBABILITIES
    assert format_of(loss).outputs is expected


def test_five_classes_of_losses_have_from_logits():
    assert len(WITH_LOGITS) >= 5


def subclass(cls):
    return type("Renamed", (cls,), {})


LOGITS = {
    "partial": functools.partial(keras.losses.binary_crossentropy, from_logits=True),
    "partial_of_partial": functools.partial(
        functools.partial(keras.losses.binary_crossentropy, from_logits=True), axis=-1
    ),
    "subclass": subclass(keras.losses.BinaryCrossentropy)(from_logits=True),
    "wrapper": keras.src.losses.losses.LossFunctionWrapper(
        keras.losses.binary_crossentropy, from_logits=True
    ),
    "wrapped_partial": keras.src.losses.losses.LossFunctionWrapper(
        functools.partial(keras.losses.binary_crossentropy, from_logits=True)
    ),
    "restored": keras.losses.deserialize(
        keras.losses.serialize(keras.losses.BinaryCrossentropy(from_logits=True))
    ),
}


@pytest.mark.parametrize("loss", LOGITS.values(), ids=LOGITS)
def test_from_logits_is_found_in_every_form_of_a_loss(loss):
    found = format_of(loss)
    assert (found.name, found.outputs) == ("binary_crossentropy", Outputs.LOGITS)


def test_a_partial_can_take_from_logits_back():
    with_logits = functools.partial(keras.losses.binary_crossentropy, from_logits=True)
    loss = functools.partial(with_logits, from_logits=False)
    assert format_of(loss).outputs is Outputs.PROBABILITIES


IGNORING = {
    "object": keras.losses.SparseCategoricalCrossentropy(ignore_class=-1),
    "subclass": subclass(keras.losses.SparseCategoricalCrossentropy)(ignore_class=-1),
    "partial": functools.partial(keras.losses.sparse_categorical_crossentropy, ignore_class=-1),
    "wrapper": keras.src.losses.losses.LossFunctionWrapper(
        keras.losses.sparse_categorical_crossentropy, ignore_class=-1
    ),
}


@pytest.mark.parametrize("loss", IGNORING.values(), ids=IGNORING)
def test_the_ignored_class_is_known(loss):
    assert format_of(loss).ignored == -1
    assert format_of("sparse_categorical_crossentropy").ignored is None


@pytest.mark.parametrize("name", CLASSES)
def test_a_subclass_that_computes_the_same_is_the_loss_of_keras(name):
    loss = subclass(getattr(keras.losses, name))()
    assert format_of(loss) == format_of(getattr(keras.losses, name))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("method", ["call", "__call__"])
def test_a_subclass_that_overrides_its_computation_is_another_loss(name, method):
    def compute(self, y_true, y_pred, sample_weight=None):
        return keras.ops.mean(y_pred)

    loss = type(name, (getattr(keras.losses, name),), {method: compute})()
    found = format_of(loss)
    assert (found.takes, found.outputs) == (Takes.UNKNOWN, Outputs.UNKNOWN)
    assert found.loss is loss


def same_name(name):
    def compute(y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)

    compute.__name__ = name
    return compute


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_custom_function_with_the_name_of_a_loss_is_another_loss(name):
    function = same_name(name)
    for loss in (function, functools.partial(function)):
        assert not format_of(loss).is_known
    assert format_of(function).loss is function


@pytest.mark.parametrize("name", CLASSES)
def test_a_custom_class_with_the_name_of_a_loss_is_another_loss(name):
    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)

    cls = type(name, (keras.losses.Loss,), {"call": call})
    assert not format_of(cls).is_known
    assert not format_of(cls()).is_known


def test_an_object_with_the_custom_name_of_another_loss_is_not_that_loss():
    assert format_of(keras.losses.Hinge(name="mean_squared_error")).name == "hinge"


def test_a_callable_object_is_a_custom_loss():
    class Callable:
        def __call__(self, y_true, y_pred):
            return keras.ops.mean(y_pred)

    loss = Callable()
    assert format_of(loss).loss is loss
    assert "Callable" in format_of(loss).name


def test_a_custom_loss_that_uses_a_loss_of_keras_is_another_loss():
    class Sparse(keras.losses.Loss):
        fn = staticmethod(keras.losses.categorical_crossentropy)

        def call(self, y_true, y_pred):
            columns = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), y_pred.shape[-1])
            return self.fn(columns, y_pred)

    assert not format_of(Sparse()).is_known


def test_custom_losses_are_named_after_themselves():
    assert format_of(same_name("focal")).name == "focal"
    assert format_of(lambda y, p: p).name == "<lambda>"
