"""An error inside fit, evaluate or predict never costs the weights, the moments or the watch (T12)."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest

from thaw.trainable.watch import watch
from trainable.toys import BACKEND, THOROUGH, X, Y, fit, moved, names, tower, values


class Boom(RuntimeError):
    """What the tests throw."""


class Failing(keras.callbacks.Callback):
    """Fails at the named event, the second time that it happens."""

    def __init__(self, event: str, error: type[BaseException] = Boom) -> None:
        super().__init__()
        self.seen, self.error = 0, error
        setattr(self, event, self.fail)

    def fail(self, *_: object, **__: object) -> None:
        self.seen += 1
        if self.seen == 2:
            raise self.error("boom")


def batches(at: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for index in range(4):
        if index == at:
            raise Boom("data")
        yield X[:8], Y[:8]


class FailingStep(keras.layers.Layer):
    """Fails while a step is traced or run, when told to."""

    broken = False

    def call(self, x: object) -> object:
        if FailingStep.broken:
            raise Boom("trace")
        return x


def toy(**more: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, name="d0"), FailingStep(), keras.layers.Dense(4, name="d1")], name="toy"
    )
    model.compile("adam", "mse", **more)
    return watch(model)


def callback(event: str, method: str = "fit", error: type[BaseException] = Boom) -> Callable[[keras.Model], None]:
    def run(model: keras.Model) -> None:
        failing = [Failing(event, error)]
        if method == "fit":
            fit(model, 2, callbacks=failing)
        elif method == "evaluate":
            model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=failing)
        else:
            model.predict(X, batch_size=8, verbose=0, callbacks=failing)

    return run


def broken_step(action: Callable[[keras.Model], None]) -> Callable[[keras.Model], None]:
    """Runs `action` with a layer that fails; the flip of a flag makes sure that it is traced anew."""

    def run(model: keras.Model) -> None:
        model.layers[0].trainable = not model.layers[0].trainable
        FailingStep.broken = True
        try:
            action(model)
        finally:
            FailingStep.broken = False
            model.layers[0].trainable = True

    return run


CASES: dict[str, Callable[[keras.Model], None]] = {
    "callback-batch-begin": callback("on_train_batch_begin"),
    "callback-batch-end": callback("on_train_batch_end"),
    "callback-epoch-begin": callback("on_epoch_begin"),
    "callback-epoch-end": callback("on_epoch_end"),
    "keyboard-interrupt": callback("on_train_batch_end", error=KeyboardInterrupt),
    "callback-in-evaluate": callback("on_test_batch_end", "evaluate"),
    "callback-in-predict": callback("on_predict_batch_end", "predict"),
    "data-at-first-batch": lambda model: model.fit(batches(0), verbose=0),
    "data-at-third-batch": lambda model: model.fit(batches(2), verbose=0),
    "wrong-shape": lambda model: model.fit(X[:, :3], Y, verbose=0),
    "step-in-fit": broken_step(lambda model: fit(model)),
    "step-in-evaluate": broken_step(lambda model: model.evaluate(X, Y, verbose=0)),
    "step-in-predict": broken_step(lambda model: model.predict(X, verbose=0)),
    "step-in-train-on-batch": broken_step(lambda model: model.train_on_batch(X, Y)),
}


# On TensorFlow the variables always hold their values; a few cases show that nothing else is lost.
FEW = ("callback-batch-end", "keyboard-interrupt", "data-at-third-batch", "step-in-fit", "step-in-evaluate")
TRIED = CASES if BACKEND != "tensorflow" or THOROUGH else FEW


@pytest.mark.parametrize("name", [pytest.param(n, id=f"T12-{n}") for n in TRIED])
def test_after_an_error_the_model_is_usable_as_before(name: str) -> None:
    model = toy()
    fit(model)
    before = values(model.weights)
    with pytest.raises(BaseException) as caught:
        CASES[name](model)
    assert not isinstance(caught.value, AssertionError)
    after = values(model.weights)
    assert all(np.isfinite(w).all() for w in after)
    if "step" in name or "in-" in name or name == "wrong-shape" or name == "data-at-first-batch":
        # No step was completed: nothing may have moved.
        assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
    assert moved(model, lambda: fit(model)) == names("d0", "d1")
    model.layers[0].trainable = False
    assert moved(model, lambda: fit(model)) == names("d1")


def test_T12_after_some_of_several_steps_in_one_execution() -> None:
    if BACKEND == "torch":
        pytest.skip("Keras on PyTorch executes one step at a time")
    model = toy(steps_per_execution=4)
    fit(model)
    with pytest.raises(Exception, match="data"):
        model.fit(batches(2), verbose=0)
    assert all(np.isfinite(w).all() for w in values(model.weights))
    assert moved(model, lambda: fit(model)) == names("d0", "d1")


def test_T12_a_refusal_in_the_middle_of_fit_keeps_what_was_trained() -> None:
    model = tower()
    watch(model)
    fit(model)
    model.optimizer.add_variable((3,), name="odd")

    class Flip(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 0:
                model.layers[0].trainable = False

    before = values(model.weights)
    with pytest.raises(Exception, match="odd"):
        fit(model, callbacks=[Flip()])
    after = values(model.weights)
    # The first step is not lost.
    assert not any(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
    model.layers[0].trainable = True
    assert moved(model, lambda: fit(model)) == names("d0", "d1", "d2")
