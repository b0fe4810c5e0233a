"""Unnamed metrics have the same names in every model, as long as Keras counts names there."""

import sys

import keras
import pytest

from skguard._repairs import metric_names


def test_keras_still_counts_the_names_of_metrics_in_its_global_state():
    before = metric_names._name_counts().get("auc", 0)
    keras.metrics.AUC()
    assert metric_names._name_counts()["auc"] == before + 1


@pytest.mark.parametrize("cls", [keras.metrics.AUC, keras.metrics.MeanSquaredError])
def test_keras_still_derives_the_name_of_a_metric_from_its_class(cls):
    with metric_names.first_metric_names():
        assert cls().name == metric_names._snake(cls.__name__)


def test_metrics_are_named_as_in_the_first_model_inside_and_numbered_again_afterwards():
    keras.metrics.AUC()
    with metric_names.first_metric_names():
        assert keras.metrics.AUC().name == "auc"
    assert keras.metrics.AUC().name not in ("auc", "auc_1")


def test_names_of_layers_continue_to_be_numbered_inside():
    keras.layers.Dense(1)
    with metric_names.first_metric_names():
        assert keras.layers.Dense(1).name != "dense"


def test_metrics_are_named_as_keras_does_if_a_release_moves_the_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.src.backend.common.global_state", None)
    monkeypatch.setitem(sys.modules, "keras.src.utils.naming", None)
    keras.metrics.AUC()
    with metric_names.first_metric_names():
        assert keras.metrics.AUC().name != "auc"
