"""How to provoke the errors of Keras files."""

import json
from pathlib import Path

import h5py
import numpy as np

from provoke import Row
from thaw.errors import ConfigNotNativeError, CorruptFileError, NoModelConfigError, UnknownFormatError, WeightsMismatchError
from thaw.formats.keras_file import read_keras_file
from thaw.model_file import load_model


def model(path: Path, class_name: str = "Dense", shape: tuple[int, ...] = (3, 2)) -> Path:
    layer = {"class_name": class_name, "config": {"name": "head", "units": 2, "batch_input_shape": [None, 3]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer]})
        file.attrs["keras_version"] = "2.2.4"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"head"]
        inner = group.create_group("head")
        inner.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        inner["kernel:0"], inner["bias:0"] = np.ones(shape, "float32"), np.ones(2, "float32")
    return path


def weights_alone(folder: Path) -> None:
    path = model(folder / "weights.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    read_keras_file(path)


def link(folder: Path) -> None:
    path = model(folder / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/head/bias:0"]
        file["model_weights/head/bias:0"] = h5py.ExternalLink("/etc/secret.h5", "/x")
    read_keras_file(path)


def text(folder: Path) -> None:
    (folder / "model.h5").write_text("<html>not found</html>")
    read_keras_file(folder / "model.h5")


def pointer(folder: Path) -> None:
    (folder / "model.h5").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n")
    load_model(folder / "model.h5")


def pointer_in_folder(folder: Path) -> None:
    (folder / "saved_model.pb").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n")
    load_model(folder)


ROWS = [
    Row(
        NoModelConfigError,
        weights_alone,
        what="holds weights only, of 1 layers ('head')",
        expected="a file written by `model.save(...)`",
        do="read_keras_file(path, into=model)",
    ),
    Row(
        ConfigNotNativeError,
        lambda folder: read_keras_file(model(folder / "m.h5", "Mystery")),
        what="unknown class or function 'Mystery', in 'head'",
        expected="layers and arguments that Keras 3 itself has",
        do="custom_objects={'Mystery': ...}",
    ),
    Row(
        ConfigNotNativeError,
        lambda folder: read_keras_file(model(folder / "m.h5", "Lambda")),
        what="Python code, which is never run: Lambda layer 'head'",
        expected="layers and arguments that Keras 3 itself has",
        do="custom_objects={'<layer name>': f}",
        name="code",
    ),
    Row(
        WeightsMismatchError,
        lambda folder: read_keras_file(model(folder / "m.h5", shape=(2, 2))),
        what="layer 'head' has the shapes [(3, 2), (2,)], the file [(2, 2), (2,)]",
        expected="every layer's weights",
        do="Compare the file with the model",
    ),
    Row(
        CorruptFileError,
        link,
        what="is a link to '/etc/secret.h5'",
        expected="a whole file",
        do="export it again",
        name="hdf5 link",
    ),
    Row(
        UnknownFormatError,
        text,
        what="is of no known format: it holds 'model.h5'",
        expected="Expected one of",
        do="download the raw file",
        name="keras",
    ),
    Row(
        UnknownFormatError,
        pointer,
        what="It is a Git LFS pointer",
        expected="a Keras file (HDF5, or a zip with config.json in it)",
        do="fetch it with `git lfs pull`",
        name="pointer",
    ),
    Row(
        CorruptFileError,
        pointer_in_folder,
        what="do not parse as a SavedModel protobuf message (It is a Git LFS pointer",
        expected="a whole file",
        do="fetch it with `git lfs pull`",
        name="pointer in a folder",
    ),
]
