"""Choosing what trains, and making changes of flags take effect."""

from pathlib import Path
from unittest import mock

import keras

from provoke import Row
from thaw.errors import (
    ChoiceMismatchError,
    KerasDriftError,
    NearnessError,
    NothingCanTrainError,
    NothingSelectedError,
    NotInModelError,
    OptimizerRefusedError,
    RelaxationError,
    ScheduleError,
)
from thaw.finetune.schedule import Phase, schedule
from thaw.layer import KerasLayer
from thaw.mending import relax
from thaw.trainable import hooks
from thaw.trainable.flags import trainable
from thaw.trainable.nearness import stay_near
from thaw.trainable.optimizer import regroup
from thaw.trainable.select import select


def tower() -> keras.Model:
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Flatten(name="flat")], name="tower"
    )


def misnamed(_: Path) -> None:
    select(tower(), "hiden")


def stranger(_: Path) -> None:
    select(tower(), keras.layers.Dense(2, name="elsewhere"))


def weightless(_: Path) -> None:
    select(tower(), "flat")


def refused(_: Path) -> None:
    variables = [keras.Variable([1.0, 2.0], name="a"), keras.Variable([1.0], name="b")]
    optimizer = keras.optimizers.SGD(name="odd_sgd")
    optimizer.build(variables)
    optimizer.add_variable((3,), name="odd")
    regroup(optimizer, variables[:1])


def drifted(_: Path) -> None:
    # As if Keras had renamed a parameter of make_train_function.
    with mock.patch.dict(hooks._SIGNATURES, make_train_function=("force", "strictly")):
        hooks.check_keras.__wrapped__()


def other_architecture(_: Path) -> None:
    wider = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hiden")], name="wider")
    trainable(tower()).apply(keras.Sequential([wider, keras.layers.Dense(1, name="top")], name="other"))


def not_there(_: Path) -> None:
    relax(KerasLayer(Path(__file__).resolve().parents[2] / "samples" / "digits"), "ArgMax")


def too_strong(_: Path) -> None:
    stay_near(tower(), float("inf"))


def endless(_: Path) -> None:
    schedule(tower(), [Phase("hidden"), Phase()])


ROWS = [
    Row(
        RelaxationError, not_there, "'ArgMax' cannot be relaxed by 'straight_through'", "Expected one of", "`thaw.explain` names"
    ),
    Row(NearnessError, too_strong, "The strength is inf", "Expected a finite number, 0 or more", "Pass 0.01 to 1"),
    Row(ScheduleError, endless, "Phase 1 of 2 does not say when it ends", "epochs=, steps= or until=", "Add epochs= to phase 1"),
    Row(
        NothingSelectedError,
        misnamed,
        "'hiden' matches no layer and no variable of 'tower'",
        "Nearest names: 'hidden'",
        "thaw.select(model)",
    ),
    Row(NotInModelError, stranger, "The layer 'elsewhere' is not part of 'tower'", "compared by identity", "give its name"),
    Row(
        NothingCanTrainError,
        weightless,
        "'flat' matches 'flat' in 'tower'",
        "at least one floating-point weight",
        "build the model first",
    ),
    Row(
        OptimizerRefusedError,
        refused,
        "'odd_sgd' (SGD) cannot follow a change",
        "one variable per trained variable",
        "compile with a new optimizer",
    ),
    Row(
        KerasDriftError,
        drifted,
        "lacks what live flags lean on: 'Model.make_train_function(strictly=)'",
        "as in Keras 3.15.0, 3.15.1",
        "install one of these versions",
    ),
    Row(
        ChoiceMismatchError,
        other_architecture,
        "'hidden/kernel', 'hidden/bias'",
        "the model that it was taken from",
        "Nothing was changed",
    ),
]
