"""What the parts of the selection language pick, and what freeze and unfreeze do with it."""

import re

import keras
import pytest

from thaw.errors import NothingCanTrainError, NothingSelectedError, SelectionError
from thaw.trainable.flags import freeze, only_training, trainable, unfreeze
from thaw.trainable.select import Selection, all_of, any_of, from_text, not_, select

layers = keras.layers


def network() -> keras.Model:
    """Names out of alphabetical order, so that an order of names would show."""
    base = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(2, 3, name="z_conv1"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(2, 3, name="Block2_conv"),
            layers.GlobalAveragePooling2D(name="pool"),
        ],
        name="base",
    )
    return keras.Sequential(
        [keras.Input((8, 8, 3)), base, layers.Dense(3, name="middle"), layers.Dense(2, name="head")], name="net"
    )


CASES: dict[str, tuple[object, list[str]]] = {
    "name-of-a-layer": ("middle", ["middle/kernel", "middle/bias"]),
    "name-of-an-inner-layer": ("z_conv1", ["base/z_conv1/kernel", "base/z_conv1/bias"]),
    "path-of-an-inner-layer": ("base/z_conv1", ["base/z_conv1/kernel", "base/z_conv1/bias"]),
    "name-of-a-variable": ("gamma", ["base/norm/gamma"]),
    "path-of-a-variable": ("base/norm/gamma", ["base/norm/gamma"]),
    "end-of-a-path": ("norm/beta", ["base/norm/beta"]),
    "glob-over-layers": ("*_conv1", ["base/z_conv1/kernel", "base/z_conv1/bias"]),
    "glob-over-variables": ("*d/bias", ["head/bias"]),
    "glob-in-other-case": ("block2*", ["base/Block2_conv/kernel", "base/Block2_conv/bias"]),
    "pattern": (re.compile(r"conv\d?/kernel"), ["base/z_conv1/kernel", "base/Block2_conv/kernel"]),
    "index": (1, ["middle/kernel", "middle/bias"]),
    "negative-index": (-1, ["head/kernel", "head/bias"]),
    "slice": (slice(-2, None), ["middle/kernel", "middle/bias", "head/kernel", "head/bias"]),
    "layer-class": (layers.Dense, ["middle/kernel", "middle/bias", "head/kernel", "head/bias"]),
    "predicate-over-layers": (lambda x: x.units == 2, ["head/kernel", "head/bias"]),
    "predicate-over-variables": (lambda x: len(x.shape) == 4 and x.shape[2] == 3, ["base/z_conv1/kernel"]),
    "any-of": (any_of("gamma", "head/bias"), ["base/norm/gamma", "head/bias"]),
    "all-of": (all_of("base", "*bias"), ["base/z_conv1/bias", "base/Block2_conv/bias"]),
    "not": (not_("base", "head"), ["middle/kernel", "middle/bias"]),
    "list": (["gamma", -1], ["base/norm/gamma", "head/kernel", "head/bias"]),
    "nested": (all_of(layers.Dense, not_(-1)), ["middle/kernel", "middle/bias"]),
}


@pytest.mark.parametrize("name", [pytest.param(n, id=f"S6-T11-{n}") for n in CASES])
def test_selection_picks(name: str) -> None:
    what, expected = CASES[name]
    picked = select(network(), what)
    assert list(picked.paths) == expected


def test_S3_layers_and_variables_are_picked_by_identity() -> None:
    model, twin = network(), network()
    assert select(model, model.layers[0].layers[0]).paths == ("base/z_conv1/kernel", "base/z_conv1/bias")
    assert select(model, model.layers[-1].bias).paths == ("head/bias",)
    for foreign in (twin.layers[-1], twin.layers[-1].bias):
        with pytest.raises(SelectionError, match="not part of 'net'"):
            select(model, foreign)


def test_S4_the_backends_own_variable_is_picked_too() -> None:
    model = network()
    assert select(model, model.layers[-1].bias.value).paths == ("head/bias",)


WRONG = {
    "misspelt": "hed",
    "index-too-large": 7,
    "class-that-is-absent": layers.LSTM,
    "nothing-in-common": all_of("head", "middle"),
    "one-of-several-misspelt": any_of("head", "hed"),
    "no-part-of-the-language": 1.5,
    "a-statistic": "moving_mean",
    "a-statistic-by-its-path": "base/norm/moving_mean",
}


@pytest.mark.parametrize("name", [pytest.param(n, id=f"S3-{n}") for n in WRONG])
def test_what_picks_nothing_is_an_error_with_the_nearest_names(name: str) -> None:
    model = network()
    before = trainable(model)
    with pytest.raises(NothingSelectedError, match="Nearest names"):
        freeze(model, "middle", WRONG[name])
    assert trainable(model) == before


def test_S3_nearest_names_come_first() -> None:
    with pytest.raises(NothingSelectedError, match="Nearest names: 'middle'"):
        select(network(), "midle")


def test_S3_a_layer_without_weights_is_an_error() -> None:
    with pytest.raises(NothingCanTrainError, match="'pool'"):
        unfreeze(network(), "pool")


def test_S6_source_names_match() -> None:
    model = network()
    model.layers[-1].kernel.source_name = "MobilenetV2/Logits/weights:0"
    assert select(model, "MobilenetV2/Logits/weights").paths == ("head/kernel",)
    assert select(model, "*Logits*").paths == ("head/kernel",)
    assert select(model, "Logits").paths == ("head/kernel",)


def test_text_of_the_command_line_is_the_same_language() -> None:
    model = network()
    for text, what in {"-2:": slice(-2, None), "-1": -1, "!base": not_("base"), "class:Conv2D": layers.Conv2D}.items():
        assert select(model, from_text(text)).paths == select(model, what).paths
    assert select(model, from_text(r"/conv\d/")).paths == ("base/z_conv1/kernel", "base/z_conv1/bias")
    with pytest.raises(NothingSelectedError, match="class:Dense"):
        from_text("class:Dens")


def test_S7_batch_norm_is_one_argument() -> None:
    model = network()
    freeze(model)
    done = unfreeze(model, "base", batch_norm=False)
    norm = model.layers[0].get_layer("norm")
    assert not norm.trainable and [path for path, _ in done.kept] == ["base/norm/gamma", "base/norm/beta"]
    assert [v.path for v in model.trainable_variables] == [v.path for v in select(model, "z_conv1", "Block2_conv")]
    unfreeze(model, "base")
    assert norm.trainable and norm.gamma.trainable and not norm.moving_mean.trainable


def test_T7_freeze_leaves_no_trap_for_a_flag_set_later_in_plain_keras() -> None:
    model = network()
    freeze(model)
    assert model.trainable_variables == [] and not model.layers[0].trainable
    model.layers[-1].trainable = True
    assert len(model.trainable_variables) == 2


def test_S12_what_blocks_is_lifted_and_what_else_is_frozen_stays_so() -> None:
    model = network()
    model.trainable = False
    done = unfreeze(model, "z_conv1")
    assert set(done.lifted) == {"net", "base"}
    assert len(model.trainable_variables) == 2 and model.layers[0].trainable


def test_left_out_weights_are_thawed_by_whole_name_or_on_request() -> None:
    class Maker(layers.Layer):
        def build(self, shape: object) -> None:
            self.scale = self.add_weight(shape=(4,), name="scale", trainable=False)
            self.steps = self.add_weight(shape=(), dtype="int32", name="steps", trainable=False)
            self.bias = self.add_weight(shape=(4,), name="bias")

        def call(self, x: object) -> object:
            return x * self.scale + self.bias

    model = keras.Sequential([keras.Input((4,)), Maker(name="maker"), layers.BatchNormalization(name="norm")])
    assert select(model, "maker").paths == ("maker/bias",)
    unfreeze(model, "maker/scale")
    assert any(v is model.layers[0].scale for v in model.trainable_variables)
    freeze(model)
    done = unfreeze(model, left_out=True)
    assert done.paths == ("maker/bias", "maker/scale", "norm/gamma", "norm/beta")


def test_only_training_puts_the_choice_back_also_after_an_error() -> None:
    model = network()
    freeze(model, "base")
    before = trainable(model)
    with pytest.raises(ZeroDivisionError), only_training(model, "z_conv1") as picked:
        assert isinstance(picked, Selection) and len(model.trainable_variables) == 2
        raise ZeroDivisionError
    assert trainable(model) == before
    with pytest.raises(NothingSelectedError), only_training(model, "hed"):
        pass
    assert trainable(model) == before


def test_a_selection_prints_what_it_holds() -> None:
    picked = select(network(), "head")
    assert "2 variables in 1 layers: head/kernel, head/bias" in repr(picked)
    assert len(picked) == 2 and picked.variables[0] in picked


def test_S5_what_a_publisher_left_out_is_thawed_by_name_only() -> None:
    model = network()
    for variable in (model.layers[1].bias, *model.layers[2].weights):
        variable.left_out = True
    freeze(model)
    assert "middle/bias" not in unfreeze(model).paths and "head/bias" not in unfreeze(model).paths
    assert unfreeze(model, "middle").paths == ("middle/kernel",)
    assert unfreeze(model, "head").paths == ("head/kernel", "head/bias")
    assert "middle/bias" in unfreeze(model, "*").paths
    freeze(model)
    assert model.trainable_variables == []
    assert len(unfreeze(model, left_out=True)) == 10
