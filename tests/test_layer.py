"""KerasLayer does what tensorflow_hub's own tests promised of theirs (K), and what DESIGN 4.6 says of flags; on each backend."""

import gc
import json
import shutil
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from thaw.errors import HandleError, HubArgumentError, InputError, UnknownLayerError, WeightsMissingError
from thaw.inspection import list_tensors

MODELS = Path(__file__).parent / "models"
TF2 = MODELS / "tf2"
BEHAVIOUR = MODELS / "behaviour"
DIGITS = Path(__file__).parents[1] / "samples" / "digits"


def array(value):
    return value if isinstance(value, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(value))


def values_of(layer):
    return {name: array(variable).copy() for name, variable in layer.source_variables.items()}


def moved(before, layer):
    return {name for name, value in values_of(layer).items() if not np.array_equal(value, before[name])}


def half_plus_one(**kwargs):
    return thaw.KerasLayer(TF2 / "half_plus_one", **kwargs)


def test_weights_are_copies_and_do_not_change_with_their_file(tmp_path):
    folder = shutil.copytree(BEHAVIOUR / "convnet", tmp_path / "module")
    layer = thaw.KerasLayer(folder)
    before = values_of(layer)
    data = next(folder.glob("variables/*.data-00000-of-00001"))
    with data.open("r+b") as file:  # the same file, as `cp` writes it anew
        file.write(b"\xff" * data.stat().st_size)
    assert moved(before, layer) == set()


# K1, K2: training, regularization


def test_half_plus_one_before_training_K1():
    layer = half_plus_one(trainable=True)
    model = keras.Sequential([keras.Input((1,)), layer])
    np.testing.assert_allclose(array(model(np.float32([[0], [8], [10]]))), [[1], [5], [6]], rtol=1e-6)
    assert len(layer.trainable_weights) == 1
    assert len(layer.non_trainable_weights) == 2
    assert not {id(w) for w in layer.trainable_weights} & {id(w) for w in layer.non_trainable_weights}


def test_half_plus_one_trained_keeps_the_frozen_bias_K1():
    layer = half_plus_one(trainable=True)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.002), "mse")
    x = np.arange(10, dtype="float32")[:, None]
    np.testing.assert_allclose(array(sum(model.losses)), 0.0025, rtol=1e-5)
    model.fit(x, x + 1, epochs=30, batch_size=10, verbose=0)
    np.testing.assert_allclose(array(model(np.float32([[0]]))), [[1.0]], atol=1e-6)
    np.testing.assert_allclose(array(model(np.float32([[4]]))), [[5.0]], atol=0.1)
    np.testing.assert_allclose(array(sum(model.losses)), 0.01, rtol=0.05)


def test_regularization_loss_toggles_with_the_flag_K2():
    layer = half_plus_one(trainable=False)
    model = keras.Sequential([keras.Input((1,)), layer])
    for flag in (False, True, False, True):
        layer.trainable = flag
        np.testing.assert_allclose(array(sum(model.losses, 0.0)), 0.0025 if flag else 0.0, rtol=1e-5)


# K3, K4: batch normalization


def test_batch_norm_retrained_then_served_K3():
    layer = thaw.KerasLayer(TF2 / "batch_norm", trainable=True)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.float32([[11], [12], [13]])
    model.fit(x, 2 * x, epochs=100, batch_size=3, shuffle=False, verbose=0)
    variables = layer.source_variables
    np.testing.assert_allclose(array(variables["norm/moving_mean"]), [12.0], rtol=1e-4)
    np.testing.assert_allclose(array(variables["norm/beta"]), [24.0], rtol=2e-2)
    np.testing.assert_allclose(array(model(x)), 2 * x, atol=0.5)
    before = values_of(layer)
    for start in range(100):
        model(np.float32([[start], [start + 30]]), training=False)
    assert not moved(before, layer)
    np.testing.assert_allclose(array(model(x[:1])), array(model(x))[:1], rtol=1e-5)


def test_frozen_batch_norm_stays_bit_identical_under_a_head_K4():
    layer = thaw.KerasLayer(TF2 / "batch_norm", trainable=False)
    model = keras.Sequential([keras.Input((1,)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before, head = values_of(layer), array(model.layers[-1].kernel).copy()
    model.fit(np.float32([[1], [5], [9]]), np.float32([[1], [2], [3]]), epochs=3, verbose=0)
    assert not moved(before, layer)
    assert not np.array_equal(head, array(model.layers[-1].kernel))


def test_a_frozen_inner_batch_norm_normalizes_by_its_moving_statistics_S7():
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    layer.get_layer("block_0_bn").trainable = False
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = values_of(layer)
    random = np.random.default_rng(0)
    model.fit(random.random((16, 8, 8, 1), "float32"), np.arange(16) % 5, verbose=0)
    expected = {n for n in before if not n.startswith("block_0_bn/")}
    assert moved(before, layer) == expected
    # What reaches the second block is computed with the moving statistics: a batch's own would hide a constant shift.
    kept = layer.source_variables["block_0_bn/moving_mean"]
    x = random.random((4, 8, 8, 1), "float32")

    def features():
        layer.seed_generator.state.assign([1, 2])  # the same dropout each time
        return array(layer(x, training=True))

    first = features()
    np.testing.assert_array_equal(features(), first)
    kept.assign(array(kept) + 100.0)
    assert not np.allclose(features(), first, atol=1e-2)


@pytest.mark.parametrize("policy", ["auto", "frozen", "training"])
def test_one_argument_decides_whether_statistics_move_S7(policy):
    layer = thaw.KerasLayer(DIGITS, trainable=True, batch_norm=policy)
    layer.get_layer("block_0_bn").trainable = False
    before = values_of(layer)
    layer(np.random.default_rng(0).random((4, 8, 8, 1), "float32"), training=True)
    statistics = {n for n in moved(before, layer) if "moving" in n}
    first, second = ({f"block_{i}_bn/moving_{s}" for s in ("mean", "variance")} for i in (0, 1))
    assert statistics == {"auto": second, "frozen": set(), "training": first | second}[policy]


# N1, N12, N16


def test_update_ops_run_when_their_layer_trains_N1():
    layer = thaw.KerasLayer(BEHAVIOUR / "counter", trainable=True)
    count = layer.source_variables["counting/count"]
    layer(np.float32([[1]]), training=True)
    assert array(count) == 1.0
    layer(np.float32([[1]]), training=False)
    assert array(count) == 1.0
    layer.get_layer("counting").trainable = False
    layer(np.float32([[1]]), training=True)
    assert array(count) == 1.0


def test_applied_several_times_it_shares_its_weights_N12():
    layer = half_plus_one(trainable=True)
    left, right = keras.Input((1,)), keras.Input((1,))
    model = keras.Model([left, right], layer(left) + layer(right))
    assert len(model.trainable_weights) == 1
    x = np.float32([[4]])
    np.testing.assert_allclose(array(model([x, x])), 2 * array(layer(x)))
    model.compile("sgd", "mse")
    model.fit([x, x], np.float32([[0]]), verbose=0)
    np.testing.assert_allclose(array(model([x, x])), 2 * array(layer(x)), rtol=1e-6)


# K5: assets and extra variables


def test_assets_and_extra_variables_are_reachable_K5(tmp_path):
    folder = tmp_path / "module"
    shutil.copytree(BEHAVIOUR / "words", folder)
    layer = thaw.KerasLayer(folder)
    shutil.rmtree(folder)
    assert layer.asset("vocabulary.txt") == b"the\ncat\nsat\n"
    with pytest.raises(HubArgumentError, match=r"no asset 'other.txt'.*vocabulary.txt"):
        layer.asset("other.txt")
    np.testing.assert_allclose(array(layer(np.array(["cat", "dog"])))[:, 0], [0.4, 1.2], rtol=1e-6)
    assert "unused" in half_plus_one().source_variables


# K6, K7, K8: structures and shapes


@pytest.mark.parametrize("declared", [None, {"sum": (1,), "difference": (1,)}])
def test_dict_in_dict_out_with_a_python_flag_K6(declared):
    layer = thaw.KerasLayer(BEHAVIOUR / "dict_output", arguments={"return_dict": True}, output_shape=declared)
    x = {"left": np.float32([[5]]), "right": np.float32([[2]])}
    again = thaw.KerasLayer.from_config(json.loads(json.dumps(layer.get_config())))
    for one in (layer, again):
        outputs = one(x)
        assert set(outputs) == {"sum", "difference"}
        assert array(outputs["difference"]).tolist() == [[3.0]]
    inputs = {k: keras.Input((1,), name=k) for k in x}
    model = keras.Model(inputs, layer(inputs))
    assert array(model(x)["sum"]).tolist() == [[7.0]]
    assert array(thaw.KerasLayer(BEHAVIOUR / "dict_output")(x)).tolist() == [[7.0]]


@pytest.mark.parametrize("declared", [None, [(1,), ()]])
def test_list_outputs_of_unpredictable_shape_K7(declared):
    layer = thaw.KerasLayer(BEHAVIOUR / "list_output", output_shape=declared)
    again = thaw.KerasLayer.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.get_config()["output_shape"] == (None if declared is None else [(1,), ()])
    for one in (layer, again):
        first, second = one(np.float32([[1], [2], [3]]))
        assert array(first).shape == (3, 1)
        assert array(second).tolist() == [1.0, 2.0]
    if declared is not None:
        assert [tuple(t.shape) for t in layer(keras.Input((1,)))] == [(None, 1), (None,)]


def test_compute_output_shape_K8():
    assert tuple(half_plus_one().compute_output_shape([10, 1])) == (10, 1)
    assert tuple(half_plus_one().compute_output_shape([None, 1])) == (None, 1)
    words = thaw.KerasLayer(BEHAVIOUR / "words")
    assert tuple(words.compute_output_shape([7])) == (7, 4)
    assert tuple(words.compute_output_shape([None])) == (None, 4)


# K9 - K13: policies, configs, signatures


def test_mixed_precision_with_strings_K9(tmp_path):
    layer = thaw.KerasLayer(BEHAVIOUR / "words", trainable=True, dtype="mixed_float16")
    output = layer(np.array(["cat", "dog"]))
    assert keras.backend.standardize_dtype(output.dtype) == "float16"
    assert layer.source_variables["embedding"].dtype == "float32"
    model = keras.Sequential([keras.Input((), dtype="string"), layer, keras.layers.Dense(1, dtype="mixed_float16")])
    model.compile("sgd", "mse")
    texts = np.array(["cat", "dog", "the", "sat"])
    model.fit(texts, np.float32([0, 1, 0, 1]), batch_size=2, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(array(again.predict(texts, verbose=0)), array(model.predict(texts, verbose=0)), rtol=1e-3)


def test_config_through_json_keeps_hyperparameters_K10():
    layer = thaw.KerasLayer(BEHAVIOUR / "hyperparameters", arguments={"a": 10.0})
    again = thaw.KerasLayer.from_config(json.loads(json.dumps(layer.get_config())))
    for one in (layer, again):
        np.testing.assert_allclose(array(one(np.float32([[1.0]]))), [[12.0]])  # b keeps its default, 2
    np.testing.assert_allclose(array(thaw.KerasLayer(BEHAVIOUR / "hyperparameters")(np.float32([[1.0]]))), [[3.0]])


def test_a_whole_model_through_json_K11():
    model = keras.Sequential([keras.Input((1,)), half_plus_one()])
    again = keras.models.model_from_json(model.to_json())
    x = np.float32([[3], [4]])
    np.testing.assert_array_equal(array(again(x)), array(model(x)))


def test_loads_with_defaults_K12():
    layer = half_plus_one()
    assert not layer.trainable
    assert layer.trainable_weights == []
    assert array(layer(np.float32([[2]]))).tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"signature": "serving_default", "signature_outputs_as_dict": True}, {"output_0": [[2.0]]}),
        ({"signature": "serving_default", "output_key": "output_0"}, [[2.0]]),
        ({"signature": "other", "output_key": "y"}, [[4.0]]),
    ],
)
def test_signature_selection_K13(arguments, expected):
    output = half_plus_one(**arguments)(np.float32([[2]]))
    plain = {k: array(v).tolist() for k, v in output.items()} if isinstance(output, dict) else array(output).tolist()
    assert plain == expected


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("half_plus_one", {"signature": "serving_default"}, "output_key=.*'output_0'"),
        ("half_plus_one", {"signature_outputs_as_dict": True}, "without a signature.*'serving_default'"),
        (
            "half_plus_one",
            {"signature": "other", "signature_outputs_as_dict": True, "output_key": "y"},
            "Both signature_outputs_as_dict",
        ),
        ("half_plus_one", {"tags": ["gpu"]}, r"no metagraph with the tags \['gpu'\].*\['serve'\]"),
        ("half_plus_one", {"output_key": "y"}, "output is not a dict"),
        ("half_plus_one", {"signature": "nothing", "output_key": "y"}, "no signature 'nothing'.*'other'"),
        ("half_plus_one", {"signature": "other", "output_key": "z"}, "no output 'z'.*'y'"),
        ("half_plus_one", {"batch_norm": "never"}, "'never'.*'frozen'"),
    ],
    ids=["no-output", "dict-without-signature", "both", "tags", "not-a-dict", "no-signature", "no-key", "batch-norm"],
)
def test_arguments_that_contradict_K15(name, arguments, words):
    with pytest.raises(HubArgumentError, match=words) as error:
        thaw.KerasLayer(TF2 / name, **arguments)
    assert isinstance(error.value, ValueError)  # what hub.KerasLayer raises


def test_zero_trainable_variables_is_reported_once_K17():
    with pytest.warns(UserWarning, match="left nothing to train") as found:
        layer = thaw.KerasLayer(BEHAVIOUR / "nothing_to_train", trainable=True)
        layer.trainable = False
        layer.trainable = True
    assert len([w for w in found if "left nothing to train" in str(w.message)]) == 1
    assert not layer.trainable
    layer.get_layer("block").trainable = True if layer.layers else None
    assert [v.source_name for v in layer.trainable_variables] == ["block/scale"]


# S3 - S6, S10: seeing and choosing


def test_feature_vector_thaws_from_the_outside_S5():
    layer = thaw.KerasLayer(DIGITS, trainable=False)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5)])
    assert len(model.trainable_variables) == 2
    model.layers[0].trainable = True
    assert len(model.trainable_variables) == 2 + len(layer.trainable_variables) == 10


def test_flags_tell_the_truth_S4():
    layer = thaw.KerasLayer(DIGITS)
    assert layer.trainable is False and layer.trainable_variables == []
    layer.trainable = True
    count = sum(int(np.prod(v.shape)) for v in layer.trainable_variables)
    assert layer.trainable is True and count == layer.count_params() - 96  # moving statistics: 16 + 16 + 32 + 32
    layer.trainable = False
    layer.get_layer("block_1_conv").trainable = True
    assert layer.trainable is True
    assert [v.source_name for v in layer.trainable_variables] == ["block_1_conv/kernel"]


def test_flags_change_between_and_after_compile_and_take_effect_S6():
    layer = thaw.KerasLayer(DIGITS, trainable=False)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.random.default_rng(0).random((8, 8, 8, 1), "float32"), np.arange(8) % 5
    before = values_of(layer)
    model.fit(x, y, verbose=0)
    assert not moved(before, layer)
    layer.build_model.get_layer("features").trainable = True
    model.fit(x, y, verbose=0)
    assert moved(before, layer) == {"features/kernel", "features/bias"}


def test_unknown_layers_are_answered_with_the_nearest_S3():
    layer = thaw.KerasLayer(DIGITS)
    assert layer.layers[2] is layer.get_layer(index=2) is layer.get_layer(2) is layer.get_layer("block_1_conv")
    assert layer.get_layer("*1_conv") is layer.layers[2]
    with pytest.raises(UnknownLayerError, match=r"'block_1_cnv' picks no inner layer.*'block_1_conv'"):
        layer.get_layer("block_1_cnv")
    with pytest.raises(UnknownLayerError, match=r"'17' picks no inner layer.*5 in all"):
        layer.get_layer(index=17)
    with pytest.raises(UnknownLayerError, match="several"):
        layer.get_layer("block_*")


def test_inner_layers_follow_the_graph_and_hold_the_weights_S6():
    layer = thaw.KerasLayer(DIGITS)
    assert [inner.name for inner in layer.layers] == ["block_0_conv", "block_0_bn", "block_1_conv", "block_1_bn", "features"]
    assert {v.path.split("/", 1)[-1] for v in layer.get_layer("features").weights} == {"kernel", "bias"}
    assert set(layer.source_variables) == {v.source_name for v in layer.weights if hasattr(v, "source_name")}
    assert all(inner.layers == [] for inner in layer.layers)


def test_wrong_inputs_are_named_S10():
    layer = thaw.KerasLayer(DIGITS)
    with pytest.raises(InputError, match=r"shape \(1, 9, 9, 1\).*expected.*\(None, 8, 8, 1\)"):
        layer(np.zeros((1, 9, 9, 1), "float32"))
    with pytest.raises(InputError, match=r"int\d+, expected float32"):
        layer(np.zeros((1, 8, 8, 1), "int32"))
    several = thaw.KerasLayer(BEHAVIOUR / "several", signature="serving_default", signature_outputs_as_dict=True)
    with pytest.raises(InputError, match=r"no input named 'id'.*'ids'"):
        several({"id": np.int64([1]), "scale": np.float32([[1]])})
    with pytest.raises(InputError, match="'scale' is missing"):
        several({"ids": np.int64([1])})


def test_several_named_inputs_and_outputs_S10():
    layer = thaw.KerasLayer(BEHAVIOUR / "several", signature="serving_default", signature_outputs_as_dict=True, trainable=True)
    outputs = layer({"ids": np.int64([2, 0]), "scale": np.float32([[2], [3]])})
    np.testing.assert_allclose(array(outputs["rows"]), [[0, 0, 2, 0], [3, 0, 0, 0]])
    np.testing.assert_allclose(array(outputs["total"]), [2, 3])
    inputs = {"ids": keras.Input((), dtype="int64", name="ids"), "scale": keras.Input((1,), name="scale")}
    model = keras.Model(inputs, layer(inputs)["total"])
    model.compile("sgd", "mse")
    before = values_of(layer)
    model.fit({"ids": np.int64([2, 0]), "scale": np.float32([[2], [3]])}, np.float32([0, 0]), verbose=0)
    assert moved(before, layer) == {"table"}
    rows = array(layer.source_variables["table"]) != before["table"]
    assert rows[[0, 2]].any() and not rows[[1, 3]].any()


def test_another_callable_than_call_by_its_name():
    layer = thaw.KerasLayer(TF2 / "structures", signature="arguments", arguments={"return_dict": True})
    outputs = layer(np.float32([[3.0], [1.0]]))
    assert array(outputs["y"]).tolist() == [[32.0], [12.0]]
    assert "arguments" in [s.name for s in thaw.inspect(TF2 / "structures").signatures]


def test_unused_inputs_are_accepted_N16():
    layer = thaw.KerasLayer(BEHAVIOUR / "several", signature="serving_default", outputs="Gather")
    rows = layer({"ids": np.int64([2, 0]), "scale": np.float32([[2], [3]])})
    np.testing.assert_allclose(array(rows), [[0, 0, 1, 0], [1, 0, 0, 0]])


def test_ragged_and_sparse_inputs_travel_as_their_parts_N8():
    ragged = thaw.KerasLayer(TF2 / "structures", signature="ragged")
    outputs = ragged((np.int64([1, 2, 3]), np.int64([0, 2, 2, 3])))  # [[1, 2], [], [3]]
    assert array(outputs["sum"]).tolist() == [3, 0, 3]
    values, splits = outputs["twice"]
    assert array(values).tolist() == [2, 4, 6] and array(splits).tolist() == [0, 2, 2, 3]
    sparse = thaw.KerasLayer(TF2 / "structures", signature="sparse")
    parts = (np.int64([[0, 1], [1, 0]]), np.float32([1.0, 2.0]), np.int64([2, 3]))
    assert array(sparse(parts)["dense"]).tolist() == [[0, 1, 0], [2, 0, 0]]


def test_a_signature_trains_K16():
    layer = half_plus_one(signature="other", output_key="y", trainable=True)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile("sgd", "mse")
    before = values_of(layer)
    model.fit(np.float32([[1], [2]]), np.float32([[1], [1]]), verbose=0)
    assert moved(before, layer) == {"weight"}


# Saving


def test_a_saved_model_needs_no_handle_N17(tmp_path):
    folder = tmp_path / "module"
    shutil.copytree(DIGITS, folder)
    layer = thaw.KerasLayer(folder, trainable=False)
    layer.get_layer("features").trainable = True
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
    model.fit(x, np.arange(8) % 5, verbose=0)
    model.save(tmp_path / "m.keras")
    shutil.rmtree(folder)
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [v.source_name for v in again.layers[0].trainable_variables] == ["features/kernel", "features/bias"]
    again.fit(x, np.arange(8) % 5, verbose=0)
    config = layer.get_config()
    fresh = thaw.KerasLayer.from_config(config)
    with pytest.raises(WeightsMissingError, match="Load the weights"):
        fresh(x)


def test_loading_reports_nothing_odd(tmp_path):
    layer = thaw.KerasLayer(DIGITS, trainable=True)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(np.zeros((4, 8, 8, 1), "float32"), np.zeros(4), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save(tmp_path / "m.keras")
        again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.compiled
    assert int(array(again.optimizer.iterations)) == 1


# Inside other models


def test_in_functional_sequential_and_subclassed_models():
    x = np.random.default_rng(0).random((4, 8, 8, 1), "float32")
    layer = thaw.KerasLayer(DIGITS, trainable=True)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.features = layer
            self.head = keras.layers.Dense(2)

        def call(self, inputs, training=None):
            return self.head(self.features(inputs, training=training))

    image = keras.Input((8, 8, 1))
    models = [Own(), keras.Sequential([layer, keras.layers.Dense(2)]), keras.Model(image, keras.layers.Dense(2)(layer(image)))]
    for model in models:
        before = values_of(layer)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, np.arange(4) % 2, verbose=0)
        assert len(moved(before, layer)) == 12
        assert model.predict(x, verbose=0).shape == (4, 2)


def test_dtype_policies_reach_the_graph():
    x = np.random.default_rng(0).random((4, 8, 8, 1), "float32")
    full = array(thaw.KerasLayer(DIGITS)(x))
    for policy, name, tolerance in (("mixed_float16", "float16", 2e-2), ("mixed_bfloat16", "bfloat16", 1e-1)):
        layer = thaw.KerasLayer(DIGITS, dtype=policy)
        output = layer(x)
        assert keras.backend.standardize_dtype(output.dtype) == name
        assert layer.source_variables["features/kernel"].dtype == "float32"
        half = array(keras.ops.cast(output, "float32"))
        np.testing.assert_allclose(half, full, atol=tolerance * np.abs(full).max())


def test_taps_into_the_middle_give_feature_extractors():
    listed = [name for name, _ in list_tensors(DIGITS) if name.endswith("block_0_relu/Relu")]
    assert len(listed) == 1
    assert tuple(thaw.KerasLayer(DIGITS, outputs=listed[0])(np.zeros((2, 8, 8, 1), "float32")).shape) == (2, 8, 8, 16)
    layer = thaw.KerasLayer(DIGITS, outputs="*block_0_relu/Relu")
    assert tuple(layer(np.zeros((2, 8, 8, 1), "float32")).shape) == (2, 8, 8, 16)
    assert tuple(layer(keras.Input((8, 8, 1))).shape) == (None, 8, 8, 16)
    assert {n.split("/")[0] for n in layer.source_variables} == {"block_0_conv", "block_0_bn"}
    again = thaw.KerasLayer.from_config(layer.get_config())
    x = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    np.testing.assert_array_equal(array(again(x)), array(layer(x)))
    with pytest.raises(thaw.errors.UnknownTensorError, match=r"block_0_rlu.*block_0_relu"):
        thaw.KerasLayer(DIGITS, outputs="block_0_rlu")


def test_loading_leaves_the_collector_of_garbage_as_it_was(tmp_path):
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(HandleError):
                thaw.KerasLayer(tmp_path / "nothing")
            half_plus_one()
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
