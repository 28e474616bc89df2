"""Keras files that are damaged or mean harm raise a ThawError: no code runs, no other file is read, no memory is wasted."""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.keras_cases import FILES, edited_config
from thaw.errors import ConfigNotNativeError, CorruptFileError, FormatError, ThawError, WeightsMismatchError
from thaw.formats.keras_file import is_keras_file, open_keras_saved_model, read_keras_file
from thaw.formats.keras_file.archive import open_archive

DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [None, 3]}}


def h5(path: Path, *layers: Any, **weights: Any) -> Path:
    """An HDF5 model of those layer entries, whose weights are `layer=[arrays]`."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.2.4"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [f"{name}/w{i}:0".encode() for i in range(len(arrays))]
            for i, value in enumerate(arrays):
                inner[f"{name}/w{i}:0"] = value
    return path


def good(path: Path) -> Path:
    return h5(path, DENSE, d=[np.ones((3, 2), "float32"), np.ones(2, "float32")])


def rezipped(target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(FILES / "functional.keras") as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as out:
        for name, data in members.items():
            out.writestr(name, data)
    return target


def test_the_good_file_opens(tmp_path: Path) -> None:
    model = read_keras_file(good(tmp_path / "m.h5"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(np.ones((1, 3), "float32"))), [[4.0, 4.0]])


@pytest.mark.parametrize("kind", ["ExternalLink", "SoftLink"])
def test_links_are_refused(kind: str, tmp_path: Path) -> None:
    path = good(tmp_path / "m.h5")
    secret = good(tmp_path / "secret.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/d/d/w0:0"]
        target = "/model_weights/d/d/w0:0"
        file["model_weights/d/d/w0:0"] = h5py.ExternalLink(str(secret), target) if kind == "ExternalLink" else h5py.SoftLink("/x")
    with pytest.raises(CorruptFileError, match="links are not followed"):
        read_keras_file(path)


def test_external_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 24)
    path = good(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/d/d/w0:0"]
        where = [(str(tmp_path / "secret.bin"), 0, 24)]
        file["model_weights/d/d"].create_dataset("w0:0", (3, 2), "float32", external=where)
    with pytest.raises(CorruptFileError, match="in other files"):
        read_keras_file(path)


def test_virtual_datasets_are_refused(tmp_path: Path) -> None:
    path = good(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/d/d/w0:0"]
        layout = h5py.VirtualLayout((3, 2), "float32")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3, 2))
        file["model_weights/d/d"].create_virtual_dataset("w0:0", layout)
    with pytest.raises(CorruptFileError, match="in other files"):
        read_keras_file(path)


def test_huge_declared_shapes_are_refused(tmp_path: Path) -> None:
    path = good(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/d/d/w0:0"]
        file["model_weights/d/d"].create_dataset("w0:0", (1 << 20, 1 << 20), "float32", chunks=(64, 64))
    with pytest.raises(CorruptFileError, match="claims"):
        read_keras_file(path)


def test_a_heap_in_which_hdf5_would_loop_without_end_is_refused(tmp_path: Path) -> None:
    data = bytearray((FILES / "custom.h5").read_bytes())
    first = data.index(b"GCOL") + 16
    data[first : first + 16] = bytes(16)
    (tmp_path / "m.h5").write_bytes(bytes(data))
    with pytest.raises(CorruptFileError, match="heap of strings"):
        read_keras_file(tmp_path / "m.h5")


def test_cycles_of_groups_are_refused(tmp_path: Path) -> None:
    path = good(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file["model_weights/d/again"] = file["model_weights"]
    with pytest.raises(CorruptFileError, match="occurs twice"):
        read_keras_file(path)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ({"class_name": "Dense", "config": {"name": "d", "units": 1 << 40}}, [None, 1 << 20]),
        ({"class_name": "Embedding", "config": {"name": "d", "input_dim": 1 << 40, "output_dim": 64}}, [None, 3]),
        ({"class_name": "LSTM", "config": {"name": "d", "units": 1 << 30}}, [None, 3, 4]),
        (
            {"class_name": "Conv2D", "config": {"name": "d", "filters": 1 << 30, "kernel_size": 3, "padding": "same"}},
            [None, 8, 8, 3],
        ),
        ({"class_name": "PReLU", "config": {"name": "d"}}, [None, 1 << 14, 1 << 14]),
        ({"class_name": "EinsumDense", "config": {"name": "d", "equation": "ab,bc->ac", "output_shape": [1 << 40]}}, [None, 3]),
        (
            {"class_name": "RNN", "config": {"name": "d", "cell": {"class_name": "LSTMCell", "config": {"units": 1 << 30}}}},
            [None, 3, 4],
        ),
    ],
    ids=lambda value: value["class_name"] if isinstance(value, dict) else "",
)
def test_weights_beyond_the_file_are_refused_before_memory_is_taken(layer: Any, shape: Any, tmp_path: Path) -> None:
    layer["config"]["batch_input_shape"] = shape
    with pytest.raises(CorruptFileError, match="declares"):
        read_keras_file(h5(tmp_path / "m.h5", layer, d=[np.ones((3, 2), "float32")]))


def test_an_attention_beyond_the_file_is_refused(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        for entry in config["config"]["layers"]:
            if entry["class_name"] == "MultiHeadAttention":
                entry["config"]["num_heads"] = 1 << 36

    with pytest.raises(CorruptFileError, match="declares"):
        read_keras_file(edited_config(FILES / "attention.h5", tmp_path / "m.h5", change))


def test_huge_inputs_are_refused(tmp_path: Path) -> None:
    layer = {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 1 << 40, 1 << 40]}}
    with pytest.raises(CorruptFileError, match="has the shape"):
        read_keras_file(h5(tmp_path / "m.h5", layer))


@pytest.mark.parametrize("name", ["Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"])
def test_layers_that_run_code_are_refused_by_name(name: str, tmp_path: Path) -> None:
    layer = {"class_name": name, "config": {"name": "evil", "function": ["gASVCAAAAA==", None, None]}}
    with pytest.raises(ConfigNotNativeError, match=f"{name} layer 'evil'"):
        read_keras_file(h5(tmp_path / "m.h5", DENSE, layer, d=[np.ones((3, 2)), np.ones(2)]))


def test_lambdas_inside_arguments_are_refused(tmp_path: Path) -> None:
    evil = {"class_name": "__lambda__", "config": {"value": ["4wEAAAA=", None, None]}}
    layer = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": evil, "batch_input_shape": [None, 3]}}
    with pytest.raises(ConfigNotNativeError, match="a lambda in 'd'"):
        read_keras_file(h5(tmp_path / "m.h5", layer, d=[np.ones((3, 2)), np.ones(2)]))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("keras.utils", "get_file"),
        ("keras.src.ops.numpy", "np"),
        ("keras.src.ops.core", "Map"),
    ],
)
def test_modules_in_a_config_are_not_imported(module: str, name: str, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        for entry in config["config"]["layers"]:
            if entry["name"] == "join":
                entry.update(module=module, class_name=name, registered_name=name)
        members["config.json"] = json.dumps(config).encode()
        members["metadata.json"] = b'{"keras_version": "3.4.0"}'

    with pytest.raises((ConfigNotNativeError, CorruptFileError)):
        read_keras_file(rezipped(tmp_path / "m.keras", change))


def test_vocabulary_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a\nb")
    layer = {"class_name": "StringLookup", "config": {"name": "s", "vocabulary": str(tmp_path / "secret.txt")}}
    with pytest.raises(ConfigNotNativeError, match="reads the file"):
        read_keras_file(h5(tmp_path / "m.h5", layer))


def test_all_unknown_things_are_told_at_once(tmp_path: Path) -> None:
    layers = [
        {"class_name": "First", "config": {"name": "a"}},
        {"class_name": "Second", "config": {"name": "b"}},
        {"class_name": "Dense", "config": {"name": "c", "units": 2, "activation": "third"}},
        {"class_name": "Lambda", "config": {"name": "e"}},
    ]
    with pytest.raises(ConfigNotNativeError) as caught:
        read_keras_file(h5(tmp_path / "m.h5", *layers))
    assert set(caught.value.unknown) == {"First", "Second", "third"} and len(caught.value.code) == 1


def test_weights_of_another_shape_are_all_listed(tmp_path: Path) -> None:
    second = {"class_name": "Dense", "config": {"name": "e", "units": 2}}
    path = h5(tmp_path / "m.h5", DENSE, second, d=[np.ones((3, 4), "float32"), np.ones(2)], e=[np.ones((2, 2), "float32")])
    with pytest.raises(WeightsMismatchError) as caught:
        read_keras_file(path)
    assert len(caught.value.problems) == 2


def test_deep_configs_are_refused(tmp_path: Path) -> None:
    path = good(tmp_path / "m.h5")
    for depth in (500, 100_000):
        with h5py.File(path, "r+") as file:
            del file.attrs["model_config"]
            file.attrs.create("model_config", "[" * depth + "]" * depth) if depth < 30_000 else None
        with pytest.raises(FormatError):
            read_keras_file(path)


def test_graphs_with_loops_and_loose_ends_are_refused(tmp_path: Path) -> None:
    def loop(config: Any) -> None:
        for entry in config["config"]["layers"]:
            if entry["name"] == "join":
                entry["inbound_nodes"] = [[["left", 0, 0, {}], ["numbers", 0, 0, {}]]]

    def loose(config: Any) -> None:
        config["config"]["layers"][-1]["inbound_nodes"] = [[["nowhere", 0, 0, {}]]]

    for edit in (loop, loose):
        with pytest.raises(CorruptFileError):
            read_keras_file(edited_config(FILES / "functional.h5", tmp_path / "m.h5", edit))


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        out.writestr("config.json", "{}")
        out.writestr("model.weights.h5", b"\0" * (1 << 24))
    raw = bytearray(path.read_bytes())
    end = raw.rfind(b"PK\x01\x02")
    raw[end + 24 : end + 28] = (1 << 31).to_bytes(4, "little")  # the declared size, two gigabytes
    path.write_bytes(bytes(raw))
    with pytest.raises(CorruptFileError, match="would grow"):
        read_keras_file(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:evil"])
def test_members_outside_the_archive_are_refused(name: str, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members[name] = b"x"

    with pytest.raises(CorruptFileError, match="outside the archive"):
        read_keras_file(rezipped(tmp_path / "m.keras", change))


def test_missing_weights_in_a_zip_are_told(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"has no 'model\.weights\.h5'"):
        read_keras_file(rezipped(tmp_path / "m.keras", lambda members: members.__delitem__("model.weights.h5")))


def test_one_array_less_in_a_zip_is_told(tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            del file["layers/embedding/vars/0"]
        members["model.weights.h5"] = buffer.getvalue()

    with pytest.raises(WeightsMismatchError, match="table"):
        read_keras_file(rezipped(tmp_path / "m.keras", change))


@pytest.mark.parametrize("file", ["sequential.h5", "functional.keras"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_truncated_files(file: str, share: float, tmp_path: Path) -> None:
    data = (FILES / file).read_bytes()
    path = tmp_path / file
    path.write_bytes(data[: int(len(data) * share)])
    is_keras_file(path)
    with pytest.raises(ThawError):
        read_keras_file(path)


@pytest.mark.parametrize("part", ["keras_metadata.pb", "saved_model.pb", "variables/variables.index"])
def test_truncated_saved_models(part: str, tmp_path: Path) -> None:
    for source in (FILES / "nested_saved_model").rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(FILES / "nested_saved_model")
            target.parent.mkdir(exist_ok=True)
            data = source.read_bytes()
            target.write_bytes(data[: len(data) // 3] if target == tmp_path / part else data)
    with pytest.raises(ThawError):
        open_keras_saved_model(tmp_path)


def changed(data: bytes, at: list[tuple[int, int]]) -> bytes:
    out = bytearray(data)
    for place, value in at:
        out[place % len(out)] = value
    return bytes(out)


MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(MUTATIONS)
def test_mutated_hdf5_gives_a_model_or_a_thaw_error(tmp_path_factory: pytest.TempPathFactory, at: Any) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "m.h5"
    path.write_bytes(changed((FILES / "lambda.h5").read_bytes(), at))
    with contextlib.suppress(ThawError):
        read_keras_file(path)


@settings(max_examples=60)
@given(MUTATIONS)
def test_mutated_zips_give_an_archive_or_a_thaw_error(
    tmp_path_factory: pytest.TempPathFactory, at: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "m.keras"
    path.write_bytes(changed((FILES / "lambda.keras").read_bytes(), at))
    with contextlib.suppress(ThawError):
        with open_archive(path) as archive:
            archive.config()
        read_keras_file(path)


KEYS = st.sampled_from(["class_name", "config", "layers", "name"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["Dense", "d", "relu", "Sequential", "__tuple__", "Model"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@settings(max_examples=100)
@given(JSON)
def test_any_json_as_config_gives_a_thaw_error(tmp_path_factory: pytest.TempPathFactory, config: Any) -> None:
    path = good(tmp_path_factory.mktemp("fuzz") / "m.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    with contextlib.suppress(ThawError):
        read_keras_file(path)
