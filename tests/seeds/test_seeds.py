"""The examples of the seed documents run, and do what the words beside them say."""

import contextlib
import io
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import thaw
from seeds import examples
from thaw.errors import InputError, UnknownLayerError

MODELS = Path(__file__).resolve().parents[1] / "models" / "seeds"
SENTENCES = np.array(["This is a great sentence.", "Another one here!", "Short"], dtype=object)
RANDOM = np.random.default_rng(0)


def stand_in() -> types.SimpleNamespace:
    """What the examples use of `tf`, by Keras 3."""
    names = types.ModuleType("keras_of_tf")
    names.__dict__.update({n: getattr(keras, n) for n in ("Sequential", "Model", "layers", "models", "losses", "optimizers")})
    names.backend = types.SimpleNamespace(count_params=lambda p: int(np.prod(p.shape)))  # type: ignore[attr-defined]
    random = types.SimpleNamespace(normal=lambda shape: keras.random.normal(shape))
    return types.SimpleNamespace(keras=names, string="string", constant=lambda x: np.array(x, dtype=object), random=random)


def run(code: str, module: str = "", **more: object) -> tuple[dict[str, Any], str]:
    """What the example leaves behind, and what it prints."""
    keras.utils.set_random_seed(0)
    space = {"tf": stand_in(), "hub": thaw, "keras": keras, "HANDLE": str(MODELS / module), **more}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, space)
    return space, printed.getvalue()


def moved(layer: keras.Layer, action: Any) -> set[str]:
    """The publisher's names of what an action changes."""
    before = {n: np.array(keras.ops.convert_to_numpy(v)) for n, v in layer.source_variables.items()}
    action()
    now = {n: keras.ops.convert_to_numpy(v) for n, v in layer.source_variables.items()}
    return {n for n, value in before.items() if not np.array_equal(value, now[n])}


def classifier(layer: keras.Layer, classes: int = 10) -> keras.Model:
    """A model on sentences with a head on the layer."""
    model = keras.Sequential([keras.Input((), dtype="string"), layer, keras.layers.Dense(classes, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    return model


def on_sentences(model: keras.Model) -> Any:
    return lambda: model.fit(SENTENCES, np.array([0, 1, 1]), epochs=2, verbose=0)


def names_below(layer: thaw.KerasLayer, start: str) -> set[str]:
    return {name for name in layer.source_variables if name.startswith(start)}


def test_S1_elmo_loads_and_trains_where_tensorflow_hub_raises() -> None:
    space, printed = run(examples.ELMO_BASIC, "elmo_like")
    layer, model = space["emlo_layer"], space["model"]
    assert [inner.name for inner in layer.layers] == ["embedding", "dense_in", "bilm", "dense_out", "aggregation"]
    assert "dense_in" in printed and "bilm" in printed
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    # trainable=True thaws everything already; the loop over "dense" then changes nothing.
    assert moved(layer, on_sentences(model)) == set(layer.source_variables)


def test_S1_the_loop_selects_exactly_the_dense_layers() -> None:
    code = examples.ELMO_BASIC.replace("trainable=True)", "trainable=False)", 1)
    layer = run(code, "elmo_like")[0]["emlo_layer"]
    assert {v.source_name for v in layer.trainable_variables} == names_below(layer, "dense_")
    assert moved(layer, on_sentences(classifier(layer))) == names_below(layer, "dense_")


def test_S2_one_inner_layer_by_its_name_and_no_other() -> None:
    layer = run(examples.ELMO_BY_NAME, "elmo_like")[0]["emlo_layer"]
    assert moved(layer, on_sentences(classifier(layer))) == {"dense_out/kernel", "dense_out/bias"}


def test_S3_recursion_and_index() -> None:
    space, _ = run(examples.ELMO_NESTED, "elmo_like")
    layer, target = space["emlo_layer"], space["target_layer"]
    assert target.name == "bilm" and len(target.layers) == 2
    assert moved(layer, on_sentences(classifier(layer))) == names_below(layer, "bilm/")


@pytest.mark.parametrize("wrong", [9, "dense_ou"])
def test_S3_a_wrong_index_or_name_lists_what_there_is(wrong: int | str) -> None:
    layer = run(examples.ELMO_NESTED, "elmo_like")[0]["emlo_layer"]
    with pytest.raises(UnknownLayerError, match="dense_out"):
        layer.get_layer(wrong)


def test_S4_trainable_after_construction_thaws_and_counts() -> None:
    space, printed = run(examples.CLASSIFICATION, "mobilenet_v2_classification")
    layer, model = space["mobilenet_v2"], space["model"]
    advised = sum(int(np.prod(w.source.shape)) for w in layer._runtime.weights.values() if w.advised)
    assert "Is Mobilenet V2 trainable? True" in printed and f"Trainable parameters: {advised}" in printed and advised > 9000
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = RANDOM.random((2, 224, 224, 3), "float32"), RANDOM.random((2, 1001), "float32")
    assert len(moved(layer, lambda: model.fit(x, y, verbose=0))) == len(layer.source_variables)


def test_S5_only_the_head_trains_and_explain_offers_the_mend() -> None:
    with pytest.warns(UserWarning, match="its publisher left nothing to train"):
        space, printed = run(examples.FEATURE_VECTOR, "mobilenet_v2_feature_vector")
    layer, model = space["feature_extractor"], space["model"]
    assert "Trainable parameters: 90" in printed and "Is feature extractor layer trainable? False" in printed
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = RANDOM.random((2, 224, 224, 3), "float32"), np.array([0, 1])
    assert moved(layer, lambda: model.fit(x, y, verbose=0)) == set()
    report = thaw.explain(model)
    left_out = report.because("E2")
    assert len(left_out) == len([n for n in layer.source_variables if "moving" not in n]) and "publisher" in left_out[0].reason
    for row in left_out:
        exec(row.mend, {"thaw": thaw, "model": model})
    assert thaw.explain(model).first_line.startswith("Everything trains")
    assert len(moved(layer, lambda: model.fit(x, y, verbose=0))) == len(layer.source_variables)


def test_S5_a_thawed_module_trains_through_model_layers() -> None:
    layer = thaw.KerasLayer(MODELS / "mobilenet_v2_classification", trainable=False)
    x = keras.Input((224, 224, 3))
    model = keras.Model(x, keras.layers.Dense(10)(layer(x)))
    assert len(model.trainable_variables) == 2
    model.layers[1].trainable = True
    assert layer.trainable and len(model.trainable_variables) == 2 + len([n for n in layer.source_variables if "moving" not in n])


def test_S6_underlying_layers_by_the_names_of_the_publisher() -> None:
    space, printed = run(examples.FEATURE_LAYERS, "mobilenet_v2_feature_vector")
    layer, model = space["mobilenet_v2_feature"], space["model"]
    assert "Layer block_16_expand is now trainable" in printed
    kernel = layer.source_variables["block_16_expand/kernel"]
    assert f"Trainable parameters: {90 + int(np.prod(kernel.shape))}" in printed
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    x, y = RANDOM.random((2, 224, 224, 3), "float32"), np.array([0, 1])
    assert moved(layer, lambda: model.fit(x, y, verbose=0)) == {"block_16_expand/kernel"}


@pytest.mark.parametrize("choice", ["auto", "frozen"])
def test_S7_statistics_move_where_their_layer_trains_unless_told_otherwise(choice: str) -> None:
    layer = thaw.KerasLayer(MODELS / "mobilenet_v2_classification", trainable=False, batch_norm=choice)
    for inner in layer.layers:
        inner.trainable = inner.name.startswith("block_16_")
    model = keras.Sequential([keras.Input((224, 224, 3)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = RANDOM.random((2, 224, 224, 3), "float32"), RANDOM.random((2, 1001), "float32")
    changed = moved(layer, lambda: model.fit(x, y, verbose=0))
    expected = {n for n in names_below(layer, "block_16_") if choice == "auto" or "moving" not in n}
    assert changed == expected


def text_model(space: Mapping[str, Any]) -> keras.Model:
    """The example's layers as a model."""
    x = keras.Input((), dtype="string")
    model = keras.Model(x, space["output"](space["dense"](space["embedding_layer"](x))))
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    return model


def test_S8_text_embedding_frozen_under_a_head_that_trains() -> None:
    space, printed = run(examples.TEXT_FROZEN, "nnlm_like")
    assert "(3, 128)" in printed.replace("torch.Size([3, 128])", "(3, 128)") and tuple(space["output_classification"].shape) == (
        3,
        2,
    )
    model, head = text_model(space), np.array(keras.ops.convert_to_numpy(space["output"].kernel))
    assert moved(space["embedding_layer"], on_sentences(model)) == set()
    assert not np.array_equal(head, keras.ops.convert_to_numpy(space["output"].kernel))


def test_S9_the_rows_of_the_words_seen_move_and_no_others() -> None:
    space, _ = run(examples.TEXT_TRAINED, "nnlm_like")
    layer = space["embedding_layer"]
    (table,) = layer.source_variables.values()
    before = np.array(keras.ops.convert_to_numpy(table))
    on_sentences(text_model(space))()
    rows = np.any(before != keras.ops.convert_to_numpy(table), axis=1)
    assert rows.tolist() == [True] * 9 + [False] * 7  # the nine words of the sentences come first in its vocabulary


def test_S10_the_signature_is_found_by_looking() -> None:
    space, _ = run(examples.IMAGE_CALL, "mobilenet_v2_classification")
    assert tuple(space["output_logits"].shape) == (1, 1001)
    layer = space["image_layer"]
    for wrong in (np.zeros((1, 224, 224, 1), "float32"), np.zeros((1, 224, 224, 3), "int32"), np.array(["a"], dtype=object)):
        with pytest.raises(InputError, match="224, 224, 3"):
            layer(wrong)
    with pytest.raises(InputError, match="224, 224, 3"):
        layer(keras.Input((224, 224, 1)))


# Documents 003: plain Keras


def narrow_vgg16(weights: str, include_top: bool, input_shape: tuple[int, int, int]) -> keras.Model:
    """The shape of VGG16, with its layers' names but fewer and narrower ones, without a download."""
    assert weights == "imagenet" and not include_top
    x = image = keras.Input(input_shape)
    for block, (depth, width) in enumerate([(1, 2), (1, 2), (1, 4), (1, 4), (3, 4)], 1):
        for number in range(1, depth + 1):
            x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=f"block{block}_conv{number}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return keras.Model(image, x, name="vgg16")


IMAGES = RANDOM.random((2, 224, 224, 3), "float32")
CLASSES = np.eye(10, dtype="float32")[[0, 1]]


def vgg(code: str) -> dict[str, Any]:
    code = code.replace("epochs=10)", "epochs=1, verbose=0)")
    return run(code, VGG16=narrow_vgg16, X_train=IMAGES, y_train=CLASSES)[0]


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables + model.non_trainable_variables}


def changed(model: keras.Model, x: np.ndarray = IMAGES, y: np.ndarray = CLASSES) -> set[str]:
    before = kernels(model)
    model.fit(x, y, verbose=0)
    return {path.split("/")[-2] for path, value in kernels(model).items() if not np.array_equal(before[path], value)}


def test_S11_flags_before_compile_train_everything() -> None:
    """The document calls its first example wrong and its second right; they are the same code: flags first, then compile.

    So both train the base, in plain Keras too, and explain says so. The mistake that the words describe is the next test.
    """
    space = vgg(examples.VGG)
    assert thaw.explain(space["model"]).first_line.startswith("Everything trains")
    assert {f"block{b}_conv1" for b in range(1, 6)} <= changed(space["model"]) | {"block1_conv1"}


def test_S11_stale_compile_named_by_explain_and_mended() -> None:
    code = examples.VGG.replace("layer.trainable = True", "layer.trainable = False")
    model = vgg(code)["model"]
    base = model.layers[0]
    for layer in base.layers:
        layer.trainable = True
    report = thaw.explain(model)
    assert {row.code for row in report.rows if row.path.startswith("vgg16/")} == {"E8"}
    assert "thaw.recompile(model)" in report.first_line
    thaw.recompile(model)
    assert "block5_conv3" in changed(model) and int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 2


def test_S11_watched_flags_after_fit_take_effect_with_the_same_optimizer() -> None:
    model = vgg(examples.VGG.replace("layer.trainable = True", "layer.trainable = False"))["model"]
    thaw.watch(model)
    optimizer = model.optimizer
    for layer in model.layers[0].layers:
        layer.trainable = layer.name.startswith("block5")
    assert {name for name in changed(model) if name.startswith("block")} <= {f"block5_conv{n}" for n in (1, 2, 3)}
    assert model.optimizer is optimizer and thaw.explain(model)["vgg16/block5_conv3/kernel"].trains


class SequentialWithInput(keras.Sequential):
    """Keras' own, which has `input` although it was never called, as the Keras of the document had."""

    @property
    def input(self) -> Any:
        return self.inputs[0]


def sub_model(flag: str = "True") -> tuple[keras.Model, keras.Model, Any]:
    """The model and sub-model of the example, which was fitted with that flag, and a way to fit further."""
    x, y = RANDOM.random((4, 28, 28, 1), "float32"), np.array([0, 1, 2, 3])
    code = examples.SUB_MODEL.replace("epochs=10)", "epochs=1, verbose=0)").replace("trainable = True", f"trainable = {flag}")
    spaces = types.SimpleNamespace(
        layers=keras.layers, models=types.SimpleNamespace(Sequential=SequentialWithInput, Model=keras.Model)
    )
    with pytest.warns(UserWarning, match="input_shape"):
        space, _ = run(code, X_train=x, y_train=y, keras=spaces)
    return space["model"], space["sub_model"], lambda: changed(space["model"], x, y)


@pytest.mark.parametrize("flag", ["True", "False"])
def test_S12_a_flag_set_through_a_sub_model_holds_in_the_parent(flag: str) -> None:
    model, sub, fit = sub_model(flag)
    conv = model.layers[0].name
    assert (conv in fit()) == (flag == "True")
    if flag == "False":
        assert thaw.explain(model)[f"{conv}/kernel"].code == "E1"
        thaw.watch(model)
        for layer in sub.layers:
            layer.trainable = True
        assert conv in fit()


def test_S12_a_container_that_blocks_is_named() -> None:
    model, sub, _ = sub_model()
    outer = keras.Sequential([keras.Input((28, 28, 1)), sub, keras.layers.Dense(2)], name="outer")
    sub.trainable = False
    path = f"{sub.name}/{model.layers[0].name}/kernel"
    row = thaw.explain(outer)[path]
    assert row.code == "E1" and repr(sub.name) in row.reason
    exec(row.mend, {"thaw": thaw, "model": outer})
    assert thaw.explain(outer)[path].trains
