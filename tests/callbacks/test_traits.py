"""Traits of callbacks: what a fit has to know of them."""

import keras
import pytest

from skguard.callbacks import RevertWeights, ScorerMonitor
from skguard.callbacks._traits import Traits, has_trait, monitored_metric, overrides, traits_of


class Stopping(keras.callbacks.EarlyStopping):
    pass


class Declaring(keras.callbacks.EarlyStopping):
    traits = Traits(monitors=True)


class Scoring(ScorerMonitor, keras.callbacks.EarlyStopping):
    pass


class Plain(keras.callbacks.Callback):
    pass


def test_a_callback_that_declares_nothing_has_the_defaults():
    assert traits_of(Plain()) == traits_of(Plain) == Traits()


def test_a_subclass_has_the_traits_of_its_base():
    traits = traits_of(Stopping())
    assert traits.stops_early
    assert traits.monitors
    assert traits.idle_state == {"best_weights": None}


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (keras.callbacks.EarlyStopping, "reads_only_logs"),
        (keras.callbacks.ProgbarLogger, "shows_progress"),
        (keras.callbacks.ModelCheckpoint, "batch_hooks_unless_per_epoch"),
    ],
)
def test_a_subclass_may_do_more_in_its_hooks_than_its_base(cls, name):
    assert getattr(traits_of(cls), name)
    assert not getattr(traits_of(type("Sub", (cls,), {})), name)


def test_a_declaration_replaces_the_traits_of_the_bases():
    assert traits_of(Declaring()) == Traits(monitors=True)
    assert traits_of(type("Sub", (Declaring,), {})) == Traits(monitors=True)


def test_a_class_with_two_bases_has_the_traits_of_both():
    traits = traits_of(Scoring)
    assert traits.scores_validation_set
    assert traits.stops_early
    assert traits.order == traits_of(ScorerMonitor).order
    assert traits.idle_state == {"best_weights": None}


def test_a_callback_writes_files_unless_one_of_its_bases_does_not():
    assert traits_of(Plain).writes_files
    assert not traits_of(keras.callbacks.RemoteMonitor).writes_files
    cls = type("Both", (keras.callbacks.EarlyStopping, keras.callbacks.RemoteMonitor), {})
    assert not traits_of(cls).writes_files


@pytest.mark.parametrize(
    ("callback", "metric"),
    [
        (keras.callbacks.EarlyStopping("val_auc", mode="max"), "val_auc"),
        (keras.callbacks.ReduceLROnPlateau("loss"), "loss"),
        (keras.callbacks.ModelCheckpoint("a.keras", "loss", save_best_only=True), "loss"),
        (keras.callbacks.ModelCheckpoint("a.keras", "loss", save_best_only=False), None),
        (RevertWeights("val_loss"), "val_loss"),
        (Plain(), None),
    ],
)
def test_the_metric_that_a_callback_monitors(callback, metric):
    assert monitored_metric(callback) == metric


def test_a_hook_counts_only_if_calling_it_has_an_effect():
    assert not overrides(Plain(), "on_epoch_end")
    assert overrides(keras.callbacks.EarlyStopping(), "on_epoch_end")
    assert not overrides(keras.callbacks.ProgbarLogger(), "on_epoch_end")
    every_epoch = keras.callbacks.ModelCheckpoint("a.keras", save_freq="epoch")
    assert not overrides(every_epoch, "on_train_batch_end")
    assert overrides(keras.callbacks.ModelCheckpoint("a.keras", save_freq=3), "on_train_batch_end")


def test_a_trait_of_any_callback_is_found():
    assert has_trait([Plain(), keras.callbacks.EarlyStopping()], "stops_early")
    assert not has_trait([Plain()], "stops_early")
