"""Pieces of a graph: from the middle (`inputs=`), to the middle (`outputs=`), between: the whole is the sum of its pieces."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from thaw.errors import InsideLoopError, PieceError, UnknownTensorError
from thaw.graph.partial import output_of_scope
from thaw.inspection import list_tensors

MODELS = Path(__file__).parent / "models"
DIGITS = Path(__file__).parents[1] / "samples" / "digits"
MIDDLE = "digits/block_0_pool/MaxPool"
IMAGES = np.random.default_rng(0).random((3, 8, 8, 1), "float32")


def array(value: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def scopes(layer: thaw.KerasLayer) -> set[str]:
    return {name.split("/")[0] for name in layer.source_variables}


def test_two_pieces_are_the_whole_S10() -> None:
    head, tail = thaw.KerasLayer(DIGITS, outputs=MIDDLE), thaw.KerasLayer(DIGITS, inputs=MIDDLE)
    whole = thaw.KerasLayer(DIGITS)
    np.testing.assert_array_equal(array(tail(head(IMAGES))), array(whole(IMAGES)))
    assert scopes(head) == {"block_0_conv", "block_0_bn"}
    assert scopes(head) | scopes(tail) == scopes(whole) and not scopes(head) & scopes(tail)


def test_the_shape_and_dtype_of_a_new_input_come_from_the_graph_S10() -> None:
    tail = thaw.KerasLayer(DIGITS, inputs="*block_0_pool/MaxPool")
    assert tail.program.describe() == "(*block_0_pool/MaxPool: float32 (None, 4, 4, 16))"
    assert tuple(tail(keras.Input((4, 4, 16))).shape) == (None, 128)
    with pytest.raises(thaw.errors.InputError, match=r"has shape \(3, 8, 8, 1\), expected \(None, 4, 4, 16\)"):
        tail(IMAGES)


def test_a_piece_of_the_middle_trains_and_its_statistics_move_S10() -> None:
    piece = thaw.KerasLayer(DIGITS, trainable=True, inputs=MIDDLE, outputs="digits/features_relu/Relu")
    assert scopes(piece) == {"block_1_conv", "block_1_bn", "features"}
    model = keras.Sequential([keras.Input((4, 4, 16)), piece, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = {name: array(v).copy() for name, v in piece.source_variables.items()}
    model.fit(np.random.default_rng(0).random((8, 4, 4, 16), "float32"), np.arange(8) % 2, verbose=0)
    still = {name for name, v in piece.source_variables.items() if np.array_equal(array(v), before[name])}
    assert not still


def test_a_piece_is_saved_with_the_model_S10(tmp_path: Path) -> None:
    piece = thaw.KerasLayer(DIGITS, inputs={"low": MIDDLE}, outputs={"high": "digits/features_relu/Relu"})
    inputs = keras.Input((4, 4, 16))
    model = keras.Model(inputs, piece({"low": inputs})["high"])
    x = np.random.default_rng(1).random((2, 4, 4, 16), "float32")
    model.save(tmp_path / "piece.keras")
    again = keras.saving.load_model(tmp_path / "piece.keras")
    np.testing.assert_array_equal(array(again(x)), array(model(x)))
    (layer,) = [layer for layer in again.layers if isinstance(layer, thaw.KerasLayer)]
    assert (layer.inputs_wanted, layer.outputs_wanted) == ({"low": MIDDLE}, {"high": "digits/features_relu/Relu"})


@pytest.mark.parametrize(
    ("model", "middle", "shape"),
    [
        ("tf1/half_plus_two", "mul", (3, 1)),
        ("tf1/batch_norm", "batch_norm/batchnorm/mul_1", None),
        ("behaviour/transformer", "model_1/add_1/add", None),
        ("behaviour/convnet", "model/stem_relu/Relu6", None),
    ],
)
def test_pieces_of_each_format_add_up_S10(model: str, middle: str, shape: tuple[int, ...] | None) -> None:
    whole = thaw.KerasLayer(MODELS / model)
    (spec,) = whole.program.variants[0].trace.kwargs.values() or whole.program.variants[0].trace.args[:1]
    shape = shape or tuple(n or 3 for n in spec.shape)
    x = (np.random.default_rng(2).random(shape) * 5).astype(spec.dtype)
    head, tail = thaw.KerasLayer(MODELS / model, outputs=middle), thaw.KerasLayer(MODELS / model, inputs=middle)
    for one, other in zip(keras.tree.flatten(tail(head(x))), keras.tree.flatten(whole(x)), strict=True):
        np.testing.assert_array_equal(array(one), array(other))


def test_an_input_of_the_whole_is_named_as_itself_S10() -> None:
    elmo = MODELS / "seeds" / "elmo_like"
    strings = np.array(["the cat sat", "on a mat"], dtype=object)
    middle = "bilm/projection/Tensordot"
    with pytest.raises(PieceError, match=r"\"default \('Placeholder'\)\" is needed besides"):
        thaw.KerasLayer(elmo, inputs=middle)
    tail = thaw.KerasLayer(elmo, inputs={"lstm": middle, "strings": "Placeholder"})
    head = thaw.KerasLayer(elmo, outputs=middle)
    np.testing.assert_allclose(
        array(tail({"lstm": array(head(strings)), "strings": strings})),
        array(thaw.KerasLayer(elmo)(strings)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_strings_before_a_piece_are_cut_away_S10() -> None:
    whole = thaw.KerasLayer(MODELS / "behaviour" / "words")
    tail = thaw.KerasLayer(MODELS / "behaviour" / "words", inputs="None_Lookup/LookupTableFindV2")
    assert whole.takes_strings and not tail.takes_strings
    words = array(tail(np.arange(3)))
    assert len(words) == 3 and np.isfinite(words).all()


def test_names_that_pick_nothing_are_answered_with_the_nearest_S10() -> None:
    with pytest.raises(UnknownTensorError, match=r"block_0_pol.*block_0_pool"):
        thaw.KerasLayer(DIGITS, inputs="block_0_pol")


def test_inputs_after_the_outputs_are_refused_S10() -> None:
    with pytest.raises(
        PieceError, match=r"nothing is computed from 'digits/features/BiasAdd'; 'inputs' is needed besides|nothing"
    ):
        thaw.KerasLayer(DIGITS, inputs="digits/features/BiasAdd", outputs=MIDDLE)


def test_all_inputs_that_are_needed_besides_are_named_at_once_S10() -> None:
    several = MODELS / "behaviour" / "several"
    names = [name for name, _ in list_tensors(several)]
    with pytest.raises(PieceError, match="needed besides"):
        thaw.KerasLayer(several, inputs=names[0])


@pytest.mark.parametrize("name", ["while/add", "cond/while/Exit"])
def test_tensors_inside_of_loops_and_branches_are_refused_S10(name: str) -> None:
    loops = MODELS / "tf1" / "control_flow"
    for given in ({"inputs": name}, {"outputs": name}):
        with pytest.raises(InsideLoopError, match="inside of the"):
            thaw.KerasLayer(loops, **given)
    assert name not in [tensor for tensor, _ in list_tensors(loops)]


# Taps: layer.input, layer.get_layer(x).output, layer.tap(...)


def test_the_output_of_an_inner_layer_makes_a_feature_extractor_S10() -> None:
    layer = thaw.KerasLayer(DIGITS)
    model = keras.Model(layer.input, layer.get_layer("block_0_bn").output)
    expected = thaw.KerasLayer(DIGITS, outputs="*block_0_bn/FusedBatchNormV3")(IMAGES)
    np.testing.assert_array_equal(array(model(IMAGES)), array(expected))
    assert layer.get_layer("block_0_bn").output is layer.get_layer("block_0_bn").output
    kernel = layer.source_variables["block_0_conv/kernel"]
    assert any(weight is kernel for weight in model.weights) and len(model.weights) == 5
    kernel.assign(array(kernel) * 2)
    assert not np.allclose(array(model(IMAGES)), array(expected))


def test_taps_hang_on_the_inputs_of_the_model_around_S10() -> None:
    layer = thaw.KerasLayer(DIGITS, name="digits")
    whole = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(2)])
    features = keras.Model(whole.inputs, whole.get_layer("digits").get_layer("features").output)
    assert features(IMAGES).shape[0] == 3 and layer.input is whole.inputs[0]
    np.testing.assert_array_equal(array(keras.Model(layer.input, layer.output)(IMAGES)), array(layer(IMAGES)))


def test_what_a_tap_trains_its_layer_has_and_both_are_saved_S10(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    low, high = layer.tap(["*block_0_pool/MaxPool", "*block_1_pool/MaxPool"])(layer.input)
    pooled = [keras.layers.GlobalAveragePooling2D()(t) for t in (low, high)]
    model = keras.Model(layer.input, keras.layers.Dense(2)(keras.layers.Concatenate()(pooled)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = {name: array(v).copy() for name, v in layer.source_variables.items()}
    model.fit(IMAGES, np.arange(3) % 2, verbose=0)
    moved = {name for name, v in layer.source_variables.items() if not np.array_equal(array(v), before[name])}
    assert {name.split("/")[0] for name in moved} == {"block_0_conv", "block_0_bn", "block_1_conv", "block_1_bn"}
    assert {name for name in before if not name.startswith("features")} == moved
    model.save(tmp_path / "taps.keras")
    again = keras.saving.load_model(tmp_path / "taps.keras")
    np.testing.assert_allclose(array(again(IMAGES)), array(model(IMAGES)), rtol=1e-6)


def test_taps_leave_flags_and_regularization_alone_S10() -> None:
    layer = thaw.KerasLayer(MODELS / "tf2" / "half_plus_one", trainable=True)
    losses = array(sum(layer.losses))
    flags = [v.trainable for v in layer.source_variables.values()]
    (name, *_), *_ = reversed(list_tensors(MODELS / "tf2" / "half_plus_one"))
    piece = layer.tap(name)
    assert [v.trainable for v in layer.source_variables.values()] == flags
    np.testing.assert_array_equal(array(sum(layer.losses)), losses)
    np.testing.assert_array_equal(array(sum(piece.losses)), losses)


def test_the_output_of_a_recurrent_layer_of_TensorFlow_1_S10() -> None:
    layer = thaw.KerasLayer(MODELS / "seeds" / "elmo_like")
    strings = np.array(["the cat sat", "on a mat"], dtype=object)
    cell = layer.get_layer("bilm").get_layer("bilm/RNN_0/rnn/lstm_cell")
    made = cell.output._keras_history.operation
    assert tuple(made(strings).shape[:2]) == (2, 3)


def test_a_scope_that_nothing_comes_out_of_has_no_output_S10() -> None:
    assert output_of_scope(thaw.KerasLayer(DIGITS).program, ["nowhere"], []) is None


def test_where_tracing_wants_numbers_the_free_axes_are_found_by_two_S10() -> None:
    layer = thaw.KerasLayer(MODELS / "behaviour" / "transformer")
    assert keras.tree.flatten(layer.input)[0].shape[0] is None
    assert layer.get_layer("norm_1").output.shape[0] is None
