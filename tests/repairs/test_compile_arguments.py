"""The objects that a model was compiled with, as long as Keras holds them there."""

import keras

from skguard._repairs.compile_arguments import compile_arguments


class CustomLoss(keras.losses.Loss):
    """Not registered with Keras, so that its name alone would not do."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


class CompilesItself(keras.Sequential):
    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)


def compiled(cls=keras.Sequential, **arguments):
    model = cls([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", **arguments)
    return model


def test_keras_still_holds_the_objects_that_compile_was_called_with():
    loss = CustomLoss()
    arguments = compile_arguments(compiled(loss=loss, metrics=["mae"]))
    assert arguments["loss"] is loss
    assert arguments["metrics"] == ["mae"]


def test_a_class_that_overrides_compile_is_compiled_by_its_config():
    assert compile_arguments(compiled(CompilesItself, loss="mse")) is None


def test_the_arguments_are_none_if_a_release_moves_them():
    model = compiled(loss="mse")
    del model._compile_config
    assert compile_arguments(model) is None
