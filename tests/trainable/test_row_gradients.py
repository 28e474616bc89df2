"""Tables that are asked for rows train by those rows alone where the update allows it, with the results of a dense gradient."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from devices import on_gpu
from thaw.lowering import table as table
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Resources
from thaw.lowering.values import Handle
from thaw.trainable import row_gradients, watch
from trainable.toys import THOROUGH

ROWS, WIDTH, WORDS = 60, 4, 5
BACKEND = keras.config.backend()


@keras.saving.register_keras_serializable(package="thaw_tests")
class Lookup(keras.layers.Layer):  # type: ignore[misc]
    """Sums of rows of a table: as thaw's graphs ask for them, or as a matrix product (`whole`)."""

    _thaw_live = True

    def __init__(self, whole: bool = False, gathers: int = 1, tied: bool = False, **kwargs: Any) -> None:
        regularizer, constraint = kwargs.pop("regularizer", None), kwargs.pop("constraint", None)
        super().__init__(**kwargs)
        self.whole, self.gathers, self.tied = whole, gathers, tied
        start = np.random.default_rng(1).normal(size=(ROWS, WIDTH))
        self.table = self.add_weight(
            shape=(ROWS, WIDTH),
            initializer=lambda shape, dtype: ops.convert_to_tensor(start, dtype),
            regularizer=regularizer,
            constraint=constraint,
            name="table",
        )
        self.built = True

    def rows(self, ids: Any) -> Any:
        if self.whole:
            return ops.matmul(ops.one_hot(ids, ROWS, dtype=self.compute_dtype), self.table)
        context = Context(Resources({"E": self.table}), compute_dtype=self.compute_dtype)
        return LOWERINGS["ResourceGather"].function(context, Handle("E"), ids)

    def call(self, ids: Any) -> Any:
        ids = ops.cast(ids, "int32")
        total = ops.sum(ops.cast(self.rows(ids), self.compute_dtype), axis=1)
        if self.gathers == 2:
            total = total + ops.cast(self.rows(ids[:, 0]), self.compute_dtype)
        if self.tied:
            total = total + ops.sum(ops.matmul(total, ops.transpose(ops.convert_to_tensor(self.table))), -1, keepdims=True)
        return total

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "whole": self.whole, "gathers": self.gathers, "tied": self.tied}


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    watch.obey_automatically()
    monkeypatch.setattr(row_gradients, "SMALLEST", 10)


@pytest.fixture
def sparse_updates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever an update by rows is made (or, where steps are compiled, traced)."""
    seen: list[str] = []
    if BACKEND == "tensorflow":
        kind = type(keras.optimizers.SGD())
        plain = kind.update_step

        def update_step(self: Any, gradient: Any, variable: Any, rate: Any) -> Any:
            if type(gradient).__name__ == "IndexedSlices":
                seen.append("rows")
            return plain(self, gradient, variable, rate)

        monkeypatch.setattr(kind, "update_step", update_step)
    else:
        plain = row_gradients.subtract

        def subtract(*arguments: Any) -> None:
            seen.append("rows")
            plain(*arguments)

        monkeypatch.setattr(row_gradients, "subtract", subtract)
    return seen


def data(size: int = 12, seed: int = 0, words: int = WORDS) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ids = random.integers(1, 9, (size, words))  # many rows of a text twice, most rows never
    ids[:, words - 2 :] = 0  # padding
    return ids.astype("int32"), random.normal(size=(size, 1)).astype("float32")


def model(whole: bool, optimizer: Any, **options: Any) -> keras.Model:
    compiled = options.pop("compiled", {})
    inputs = keras.Input((None,), dtype="int32")
    head = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(0.3), name="head")
    built = keras.Model(inputs, head(Lookup(whole, name="lookup", **options)(inputs)))
    built.compile(optimizer(), "mse", **compiled)
    return built


def weights(built: keras.Model) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(v.value), "float32") for v in built.weights]


def assert_alike(some: keras.Model, other: keras.Model, tolerance: float = 2e-6) -> None:
    tolerance *= 10 if on_gpu() else 1  # it sums in no fixed order
    for a, b in zip(weights(some), weights(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance * 10, atol=tolerance)


def sgd(**options: Any) -> Any:
    return lambda: keras.optimizers.SGD(0.1, **options)


def scaled() -> Any:
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8.0)


CASES: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "sgd": (sgd(), {}, True),
    "two-gathers": (sgd(), {"gathers": 2}, True),
    "loss-scale-factor": (sgd(loss_scale_factor=16.0), {}, BACKEND != "tensorflow"),
    "schedule": (lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)), {}, True),
    "tied": (sgd(), {"tied": True}, False),
    "regularizer": (sgd(), {"regularizer": keras.regularizers.L2(0.1)}, False),
    "constraint": (sgd(), {"constraint": keras.constraints.MaxNorm(1.0)}, False),
    "momentum": (sgd(momentum=0.9), {}, False),
    "nesterov": (sgd(momentum=0.9, nesterov=True), {}, False),
    "weight-decay": (sgd(weight_decay=0.1), {}, False),
    "clipnorm": (sgd(clipnorm=0.1), {}, False),
    "global-clipnorm": (sgd(global_clipnorm=0.1), {}, False),
    "clipvalue": (sgd(clipvalue=0.05), {}, False),
    "average": (sgd(use_ema=True, ema_momentum=0.5), {}, False),
    "accumulation": (sgd(gradient_accumulation_steps=2), {}, False),
    "loss-scale-optimizer": (scaled, {}, False),
    "adam": (lambda: keras.optimizers.Adam(0.01), {}, False),
    "adagrad": (lambda: keras.optimizers.Adagrad(0.1), {}, False),
    "rmsprop": (lambda: keras.optimizers.RMSprop(0.01), {}, False),
    "not-compiled": (sgd(), {"compiled": {"jit_compile": False}}, BACKEND != "jax"),
    "eager": (sgd(), {"compiled": {"run_eagerly": True}}, BACKEND != "jax"),
}


# Each costs two compilations on JAX and TensorFlow.
SHOWN = [name for i, (name, case) in enumerate(CASES.items()) if THOROUGH or case[2] or i % 2]


@pytest.mark.parametrize("case", SHOWN)
def test_N_row_gradients_give_what_dense_ones_give(case: str, sparse_updates: list[str]) -> None:
    optimizer, options, by_rows = CASES[case]
    x, y = data()
    ours, dense = model(False, optimizer, **dict(options)), model(True, optimizer, **dict(options))
    ours.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    if BACKEND != "tensorflow" or by_rows:
        assert bool(sparse_updates) == by_rows
    dense.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert_alike(ours, dense)


def test_frozen_table_and_flags_that_change_between_fits(sparse_updates: list[str]) -> None:
    x, y = data()
    ours, dense = model(False, sgd()), model(True, sgd())
    for built in (ours, dense):
        built.get_layer("lookup").trainable = False
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert not sparse_updates
    for built in (ours, dense):
        built.get_layer("lookup").trainable = True
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert sparse_updates
    assert_alike(ours, dense)
    still = weights(ours)[0].copy()
    ours.get_layer("lookup").trainable = False
    ours.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_array_equal(weights(ours)[0], still)


def test_batches_of_varying_shape_and_single_steps(sparse_updates: list[str]) -> None:
    ours, dense = model(False, sgd()), model(True, sgd())
    for size, words in ((4, 5), (3, 3), (7, 6), (4, 5)):
        x, y = data(size, seed=size, words=words)
        for built in (ours, dense):
            built.train_on_batch(x, y)
    assert sparse_updates
    assert_alike(ours, dense)


def test_multiples_of_the_rate_reach_rows() -> None:
    x, y = data()
    ours, dense = model(False, sgd()), model(True, sgd())
    for built in (ours, dense):
        watch.multiply_rates(built, {"lookup": 0.1})
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert_alike(ours, dense)


def test_another_optimizer_after_a_fit(sparse_updates: list[str]) -> None:
    x, y = data()
    ours, dense = model(False, sgd()), model(True, sgd())
    for built in (ours, dense):
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        built.compile(keras.optimizers.Adam(0.01), "mse")
    del sparse_updates[:]
    for built in (ours, dense):
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert not sparse_updates
    assert_alike(ours, dense)


def test_saved_and_loaded_in_between(tmp_path: Path) -> None:
    x, y = data()
    ours, dense = model(False, sgd()), model(True, sgd())
    ours.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    ours.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    dense.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert_alike(again, dense)


def test_half_precision_is_as_dense() -> None:
    x, y = data()
    ours, dense = model(False, sgd(), dtype="mixed_bfloat16"), model(True, sgd(), dtype="mixed_bfloat16")
    for built in (ours, dense):
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert_alike(ours, dense, tolerance=2e-2)


def test_own_training_step_of_the_user_is_kept(sparse_updates: list[str]) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def train_step(self, *arguments: Any) -> Any:
            return super().train_step(*arguments)

    x, y = data()
    inputs = keras.Input((None,), dtype="int32")
    ours = Own(inputs, keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(0.3))(Lookup()(inputs)))
    ours.compile(keras.optimizers.SGD(0.1), "mse")
    dense = model(True, sgd())
    for built in (ours, dense):
        built.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    if BACKEND == "jax":
        assert not sparse_updates
    assert_alike(ours, dense)


def test_gradients_outside_of_fit_are_dense_as_other_optimizers_want_them() -> None:
    if BACKEND != "torch":
        pytest.skip("the other backends have no mark on a parameter")
    ours = model(False, sgd())
    x, y = data()
    ours.fit(x, y, batch_size=4, verbose=0)
    ops.sum(ours(x)).backward()
    assert not any(v.value.grad is not None and v.value.grad.is_sparse for v in ours.trainable_variables)
