"""stay_near: what trains is pulled to where it started, on plain Keras models too; flags toggle it; it can be taken off."""

import keras
import numpy as np
import pytest

import thaw
from thaw.errors import NearnessError
from thaw.trainable.nearness import Nearness, starting_values

X = np.random.RandomState(0).randn(32, 4).astype("float32")
Y = np.tanh(X[:, ::-1] * 2 + 0.3).astype("float32")


def tower(regularizer: object = None) -> keras.Model:
    keras.utils.set_random_seed(3)
    stack = [keras.layers.Dense(4, activation="tanh", name=f"d{i}", kernel_regularizer=regularizer) for i in range(3)]
    model = keras.Sequential([keras.Input((4,)), *stack])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    return model


def train(model: keras.Model, epochs: int = 8) -> float:
    return float(model.fit(X, Y, epochs=epochs, batch_size=16, shuffle=False, verbose=0).history["loss"][-1])


def distance(model: keras.Model, start: dict[str, np.ndarray], part: str = "") -> float:
    now = starting_values(model)
    return float(np.sqrt(sum(((now[path] - start[path]) ** 2).sum() for path in start if path.startswith(part))))


def test_S7_the_stronger_the_pull_the_less_the_weights_move() -> None:
    moved = []
    for strength in (0.0, 1.0, 10.0):
        model = tower()
        start = starting_values(model)
        thaw.stay_near(model, strength)
        train(model)
        moved.append(distance(model, start))
    assert moved[0] > 1.2 * moved[1] and moved[1] > 2 * moved[2] > 0, moved


def test_S7_the_loss_is_half_the_strength_times_the_squared_way() -> None:
    model = tower()
    thaw.stay_near(model, 3.0, "d1")
    assert float(sum(model.losses)) == 0.0
    kernel = model.get_layer("d1").kernel
    kernel.assign(kernel.value + 0.5)
    assert float(sum(model.losses)) == pytest.approx(3.0 / 2 * 16 * 0.25, rel=1e-5)
    thaw.freeze(model, "d1")
    assert float(sum(model.losses)) == 0.0
    thaw.unfreeze(model, "d1")
    assert float(sum(model.losses)) == pytest.approx(6.0, rel=1e-5)


def test_S7_only_the_parts_that_were_named_are_held() -> None:
    free, held = tower(), tower()
    start = starting_values(free)
    thaw.stay_near(held, 100.0, "d0")
    for model in (free, held):
        train(model)
    assert distance(held, start, "d0") < 0.2 * distance(free, start, "d0")
    assert distance(held, start, "d2") > 0.2 * distance(free, start, "d2")


def test_S7_a_pull_between_two_fits_takes_effect_and_can_be_taken_off() -> None:
    model, free = tower(), tower()
    for each in (model, free):
        train(each)
    middle = starting_values(model)
    thaw.stay_near(model, 1000.0)
    for each in (model, free):
        train(each)
    held, before = distance(model, middle), distance(free, middle)
    assert held < 0.5 * before
    thaw.stay_near(model, 0)
    assert not any(isinstance(v.regularizer, Nearness) for v in model.trainable_variables)
    train(model)
    assert distance(model, middle) > held


def test_S7_a_regularizer_that_was_there_goes_on_counting() -> None:
    model = tower(keras.regularizers.L2(0.01))
    before = float(sum(model.losses))
    assert before > 0
    for strength in (5.0, 7.0):  # the second replaces the first
        thaw.stay_near(model, strength)
        assert float(sum(model.losses)) == pytest.approx(before, rel=1e-6)
    kernel = model.get_layer("d1").kernel
    kernel.assign(keras.ops.zeros_like(kernel.value))
    start = starting_values(tower(keras.regularizers.L2(0.01)))["d1/kernel"]
    without = 0.01 * sum((starting_values(model)[f"d{i}/kernel"] ** 2).sum() for i in range(3))
    assert float(sum(model.losses)) == pytest.approx(without + 3.5 * (start**2).sum(), rel=1e-5)


def test_S7_towards_a_given_start() -> None:
    model = tower()
    goal = {"d1/bias": np.full(4, 2.0, "float32")}
    thaw.stay_near(model, 1000.0, "d1/bias", start=goal)
    train(model, 200)
    np.testing.assert_allclose(starting_values(model)["d1/bias"], 2.0, atol=0.2)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(strength: float) -> None:
    with pytest.raises(NearnessError, match="The strength is"):
        thaw.stay_near(tower(), strength)


def test_a_start_of_another_shape_is_refused() -> None:
    with pytest.raises(NearnessError, match=r"The start of 'd1/bias' has shape \(5,\)"):
        thaw.stay_near(tower(), 1.0, "d1/bias", start={"d1/bias": np.zeros(5, "float32")})
