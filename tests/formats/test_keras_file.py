"""Files of Keras 1, 2 and 3 become native Keras 3 models that answer as they did in the Keras that wrote them."""

import functools
import io
import json
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from formats.keras_cases import CASES, FILES, Case, Scale, answers, edited_config, flat
from thaw.errors import ConfigNotNativeError, NoModelConfigError, UnknownFormatError, WeightsMismatchError
from thaw.formats.keras_file import is_keras_file, open_keras_saved_model, read_keras_file
from thaw.formats.keras_file.masks import OldMasks
from thaw.formats.keras_file.tf_calls import known_calls

HERE = [case for case in CASES if keras.backend.backend() in case.backends]


@functools.cache
def runs_channels_first() -> bool:
    """Whether the backend convolves images with their channels first: TensorFlow does on some CPUs only (by oneDNN)."""
    try:
        keras.ops.conv(np.ones((1, 2, 3, 3), "float32"), np.ones((2, 2, 2, 1), "float32"), data_format="channels_first")
    except Exception:
        return False
    return True


def opened(case: Case) -> Any:
    read = open_keras_saved_model if case.path.is_dir() else read_keras_file
    return read(case.path, custom_objects=case.custom_objects)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.file) for case in HERE])
def test_file_answers_as_recorded_and_saves_as_keras3(case: Case, tmp_path: Path) -> None:
    if case.file == "keras1_theano_functional.h5" and not runs_channels_first():
        pytest.skip("TensorFlow has no convolution of images with their channels first on this CPU")
    model = opened(case)
    inputs, recorded = answers(case.name)
    found = flat(model.predict_on_batch(inputs))
    assert len(found) == len(recorded)
    for value, expected in zip(found, recorded, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    for name, class_name in case.layers.items():
        assert type(model.get_layer(name)).__name__ == class_name
        assert name in case.custom_objects or class_name == "Scale" or type(model.get_layer(name)).__module__.startswith("keras.")
    if case.trainable is not None:
        assert len(model.trainable_weights) == case.trainable
    model.save(tmp_path / "again.keras")
    # Keras draws random weights before it loads, which takes JAX a compilation for each shape.
    by_keras = keras.backend.backend() != "jax" or case.file in ("sequential.h5", "nested.keras", "tf_calls.h5", "custom.h5")
    load = keras.saving.load_model if by_keras else read_keras_file
    again = load(tmp_path / "again.keras", custom_objects=case.custom_objects)
    for value, same in zip(found, flat(again.predict_on_batch(inputs)), strict=True):
        np.testing.assert_array_equal(value, same)


def as_keras_2_13(layers: h5py.Group, target: h5py.Group) -> None:
    """The layers of a model as Keras 2.12 and 2.13 stored them: those with weights take two numbers of their class each."""
    classes: dict[str, list[tuple[int, str]]] = {}
    for name in layers:
        bare, _, number = name.rpartition("_")
        classes.setdefault(bare if number.isdigit() else name, []).append((int(number) if number.isdigit() else 0, name))
    for bare, members in classes.items():
        place = 0
        for _, name in sorted(members):
            new = f"{bare}_{place}" if place else bare
            arrays: list[str] = []
            layers[name].visititems(lambda _, item, found=arrays: found.append("") if isinstance(item, h5py.Dataset) else None)
            place += 2 if arrays else 1
            layers.copy(name, target, new)
            if "layers" in layers[name]:
                del target[new]["layers"]
                as_keras_2_13(layers[name]["layers"], target[new].create_group("_layer_checkpoint_dependencies"))


@pytest.mark.parametrize("name", ["functional", "nested"])
def test_the_layout_of_keras_2_13_gives_every_layer_its_own_weights(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(FILES / f"{name}.keras") as source:
        members = {member: source.read(member) for member in source.namelist()}
    moved = io.BytesIO()
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as old, h5py.File(moved, "w") as new:
        as_keras_2_13(old["layers"], new.create_group("_layer_checkpoint_dependencies"))
    members["model.weights.h5"] = moved.getvalue()
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as out:
        for member, data in members.items():
            out.writestr(member, data)
    custom = next(case for case in CASES if case.file == f"{name}.keras").custom_objects
    plain, again = (read_keras_file(p, custom_objects=custom) for p in (FILES / f"{name}.keras", tmp_path / "old.keras"))
    for weight, same in zip(plain.weights, again.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (weight, same)))


def with_backslashes(group: h5py.Group, target: h5py.Group, at: str = "") -> None:
    """The groups as Keras 2.12 to 2.15 named them on Windows: each with its parents, joined by backslashes; `vars` apart."""
    for name, item in group.items():
        if name == "vars":
            group.copy(name, target if not at else target.require_group(at))
        else:
            with_backslashes(item, target, f"{at}\\{name}" if at else name)


@pytest.mark.parametrize("name", ["attention", "nested", "recurrent"])
def test_files_of_keras2_on_windows_open(name: str, tmp_path: Path) -> None:
    moved = io.BytesIO()
    with zipfile.ZipFile(FILES / f"{name}.keras") as source:
        members = {member: source.read(member) for member in source.namelist()}
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as old, h5py.File(moved, "w") as new:
        with_backslashes(old, new)
        assert all("\\" in group for group in new if group not in ("vars", "layers"))
    members["model.weights.h5"] = moved.getvalue()
    with zipfile.ZipFile(tmp_path / "windows.keras", "w") as target:
        for member, data in members.items():
            target.writestr(member, data)
    plain, again = (read_keras_file(path) for path in (FILES / f"{name}.keras", tmp_path / "windows.keras"))
    for weight, same in zip(plain.weights, again.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (weight, same)))


def test_constants_in_calls_of_keras3_are_arrays(tmp_path: Path) -> None:
    places = np.arange(12, dtype="float32").reshape(1, 4, 3)
    inputs = keras.Input((4, 3))
    hidden = keras.layers.Add()([inputs, keras.ops.convert_to_tensor(places)])
    keras.Model(inputs, keras.layers.Multiply()([hidden, places])).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        assert b"__tensor__" in file.read("config.json")
    x = np.ones((2, 4, 3), "float32")
    np.testing.assert_allclose(flat(read_keras_file(tmp_path / "m.keras")(x))[0], (x + places) * places, rtol=1e-6)


@pytest.mark.parametrize("file", ["nested.h5", "nested.keras", "nested_saved_model"])
def test_one_training_step_moves_what_the_file_says_is_trainable(file: str) -> None:
    model = opened(next(case for case in CASES if case.file == file))
    before = [weight.numpy().copy() if hasattr(weight, "numpy") else np.asarray(weight) for weight in model.trainable_weights]
    inputs, outputs = answers("nested")
    model.compile(keras.optimizers.SGD(0.1), loss=["mse", "mse"])
    model.fit(inputs, [value + 1.0 for value in outputs], epochs=1, verbose=0)
    frozen = model.get_layer("encoder").get_layer("inner_dense")
    assert not frozen.trainable_weights and len(frozen.weights) == 2
    moved = [
        not np.array_equal(keras.ops.convert_to_numpy(w), old) for w, old in zip(model.trainable_weights, before, strict=True)
    ]
    assert sum(moved) >= len(moved) - 1  # a bias before a batch normalization may have no gradient


def test_compile_settings_of_keras2_are_restored() -> None:
    model = read_keras_file(FILES / "sequential.h5")
    assert model.compiled and isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)
    assert model.loss == "categorical_crossentropy"


def test_config_of_old_layers_is_translated() -> None:
    model = read_keras_file(FILES / "sequential.h5")
    assert model.get_layer("leaky_re_lu").negative_slope == pytest.approx(0.15)
    assert model.get_layer("batch_normalization").axis in (1, -1)
    assert isinstance(model.layers[0].kernel_regularizer, keras.regularizers.L2)
    assert isinstance(model.layers[-1].bias_constraint, keras.constraints.MaxNorm)
    old = read_keras_file(FILES / "keras1_tensorflow_functional.h5")
    assert old.get_layer("conv").strides == (1, 2)
    assert old.get_layer("drop").rate == pytest.approx(0.3)
    assert not old.get_layer("q").use_bias


def test_masks_made_by_hand_take_no_name_of_a_layer(tmp_path: Path) -> None:
    def rename(config: Any) -> None:
        text = json.dumps(config)
        for old, new in (("after", "concatenate"), ("again", "logical_and"), ("product", "copy")):
            text = text.replace(f'"{old}"', f'"{new}"')
        config.clear()
        config.update(json.loads(text))

    path = edited_config(FILES / "merged.h5", tmp_path / "m.h5", rename)
    keras.backend.clear_session()  # Keras' automatic names start anew, as in a fresh process
    found = flat(read_keras_file(path)(answers("merged")[0]))
    for value, expected in zip(found, answers("merged")[1], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_a_crop_of_keras2_that_has_its_size_already_is_left_as_it_is() -> None:
    front = read_keras_file(FILES / "cropped.h5").get_layer("front")
    assert [type(layer).__name__ for layer in front.layers] == ["RandomCrop", "Resizing", "Conv2D", "RandomFlip"]
    image = answers("cropped")[0][0]
    drawn = front.layers[0](image, training=True)
    assert drawn.shape == (2, 4, 6, 2)
    np.testing.assert_array_equal(flat(front.layers[1](drawn))[0], flat(drawn)[0])
    assert front.layers[1](front.layers[0](image, training=False)).shape == (2, 4, 6, 2)


def test_a_model_that_joins_what_is_masked_outside_is_warned_of() -> None:
    inside = keras.Input((4, 3))
    joined = keras.layers.Add(name="plus")([inside, keras.layers.Dense(3)(inside)])
    inner = keras.Model(inside, keras.layers.LSTM(2)(joined), name="inner")
    words = keras.layers.Embedding(5, 3, mask_zero=True)(keras.Input((4,)))
    with pytest.warns(UserWarning, match=r"'inner' is called on tensors with masks, .*\(plus\)"):
        OldMasks().call(inner, [words], {})


def test_bicubic_resizes_are_warned_of_where_they_come_out_otherwise(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        next(e for e in config["config"]["layers"] if e["name"] == "larger")["config"]["interpolation"] = "bicubic"

    path = edited_config(FILES / "convolutions.h5", tmp_path / "m.h5", change)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_keras_file(path)
    told = [str(warning.message) for warning in caught if "bicubic" in str(warning.message)]
    assert len(told) == (keras.backend.backend() == "torch") and all("UpSampling2D 'larger'" in text for text in told)


def test_hard_sigmoid_is_that_of_keras2() -> None:
    activation = read_keras_file(FILES / "sequential.h5").layers[0].activation
    found = flat(activation(keras.ops.convert_to_tensor([-3.0, -2.0, 0.0, 1.0, 2.6])))[0]
    np.testing.assert_allclose(found, [0.0, 0.1, 0.5, 0.7, 1.0], atol=1e-6)


def test_shared_layers_stay_one() -> None:
    model = read_keras_file(FILES / "nested.h5")
    assert [layer.name for layer in model.layers].count("encoder") == 1
    assert len(model.weights) == 8 + 2 + 6


@pytest.mark.parametrize("file", ["sequential.h5", "sequential.keras"])
def test_first_bytes_tell_not_the_name(file: str, tmp_path: Path) -> None:
    renamed = tmp_path / ("model.keras" if file.endswith("h5") else "weights.h5")
    shutil.copy(FILES / file, renamed)
    assert is_keras_file(renamed)
    assert read_keras_file(renamed).name == "plain"


def test_other_files_are_not_keras(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"not HDF5")
    assert not is_keras_file(tmp_path / "x.h5") and not is_keras_file(tmp_path)
    with pytest.raises(UnknownFormatError):
        read_keras_file(tmp_path / "x.h5")


def test_weights_alone_need_a_model(tmp_path: Path) -> None:
    model = read_keras_file(FILES / "sequential.h5")
    path = tmp_path / "weights.h5"
    with h5py.File(FILES / "sequential.h5") as source, h5py.File(path, "w") as target:
        for name in source["model_weights"]:
            source.copy(f"model_weights/{name}", target)
        for name, value in source["model_weights"].attrs.items():
            target.attrs[name] = value
    with pytest.raises(NoModelConfigError, match="into=model"):
        read_keras_file(path)
    empty = keras.models.clone_model(model)
    assert read_keras_file(path, into=empty) is empty
    for one, other in zip(model.weights, empty.weights, strict=True):
        np.testing.assert_array_equal(flat(one)[0], flat(other)[0])
    with pytest.raises(WeightsMismatchError):
        read_keras_file(path, into=keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))


def test_weights_into_a_model_from_a_zip() -> None:
    model = read_keras_file(FILES / "functional.keras")
    inputs, recorded = answers("functional")
    empty = keras.models.clone_model(model)
    read_keras_file(FILES / "functional.h5", into=empty)
    np.testing.assert_allclose(flat(empty(inputs))[0], recorded[0], rtol=1e-5, atol=1e-6)


def test_lambda_is_refused_by_name_and_replaced_by_the_users_function() -> None:
    for file in ("lambda.h5", "lambda.keras"):
        with pytest.raises(ConfigNotNativeError, match="Lambda layer 'double'") as caught:
            read_keras_file(FILES / file)
        assert caught.value.code
        model = read_keras_file(FILES / file, custom_objects={"double": lambda x: x * 2.0})
        inputs, recorded = answers("lambda")
        np.testing.assert_allclose(flat(model(inputs))[0], recorded[0], rtol=1e-5)


def test_custom_layers_are_all_named_with_the_hint(tmp_path: Path) -> None:
    def rename(config: Any) -> None:
        config["config"]["layers"][1]["class_name"] = "Strange"

    with pytest.raises(ConfigNotNativeError) as caught:
        read_keras_file(edited_config(FILES / "custom.h5", tmp_path / "m.h5", rename))
    assert set(caught.value.unknown) == {"Strange", "Scale"}
    assert "custom_objects={'Strange': ..., 'Scale': ...}" in str(caught.value)
    assert read_keras_file(FILES / "custom.h5", custom_objects={"Toy>Scale": Scale}).get_layer("scale").factor == 3.0


def test_unknown_tensorflow_calls_are_named(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        for entry in config["config"]["layers"]:
            if entry["name"] in ("tf.math.tanh", "tf.stack"):
                entry["config"]["function"] = "io.read_file"

    with pytest.raises(ConfigNotNativeError, match=r"io\.read_file") as caught:
        read_keras_file(edited_config(FILES / "tf_calls.h5", tmp_path / "m.h5", change))
    assert set(caught.value.calls) == {"tf.io.read_file"}


def test_arguments_without_a_meaning_are_named(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        for entry in config["config"]["layers"]:
            if entry["name"] in ("gru_after", "simple"):
                entry["config"]["time_major"] = True

    with pytest.raises(ConfigNotNativeError, match="time_major=True of the GRU 'gru_after'") as caught:
        read_keras_file(edited_config(FILES / "recurrent.h5", tmp_path / "m.h5", change))
    assert len(caught.value.arguments) == 2


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_files_of_keras3_open_too(kind: str, tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, activation="hard_sigmoid")(inputs)
    if kind == "keras":
        hidden = keras.ops.concatenate([hidden * 2.0, hidden[:, :2]], axis=-1)
    inner = keras.Sequential([keras.Input((hidden.shape[-1],)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    model = keras.Model(inputs, {"a": inner(hidden), "b": hidden})
    model.save(tmp_path / f"m.{kind}")
    found = read_keras_file(tmp_path / f"m.{kind}")
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    expected, value = model(x), found(x)
    assert set(value) == {"a", "b"}
    for key in value:
        np.testing.assert_allclose(flat(value[key])[0], flat(expected[key])[0], rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow runs string inputs")
def test_string_inputs_need_tensorflow_and_say_so() -> None:
    with pytest.raises(ConfigNotNativeError, match="takes strings"):
        read_keras_file(FILES / "text.h5")


def test_saved_model_without_keras_is_left_to_the_graph(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FILES / "nested_saved_model", folder)
    (folder / "keras_metadata.pb").write_bytes(b"")
    with pytest.raises(ConfigNotNativeError, match=r"thaw\.KerasLayer"):
        open_keras_saved_model(folder)


def test_the_table_of_calls_is_closed() -> None:
    assert len(known_calls()) > 150
    assert not any("py_func" in name or "load" in name or name.startswith("io.") for name in known_calls())
