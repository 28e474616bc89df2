"""An artifact's files with other weights: read again by us, and by TensorFlow where it is the backend."""

import os
from pathlib import Path

import numpy as np
import pytest

from formats.sample import FOLDERS, contents, ours, values
from thaw.errors import MissingFileError, WeightsNotPlacedError
from thaw.formats import MemoryFiles, read, rewritten
from thaw.formats.files import DirectoryFiles
from thaw.graph.artifact import Artifact

WITH_VARIABLES = sorted(n for n in FOLDERS if ours(n).variables)


def other(artifact: Artifact) -> dict[str, np.ndarray]:
    """Another value for each variable of numbers."""
    old = values(artifact)
    return {
        name: (value + np.ones((), value.dtype)).astype(value.dtype) for name, value in old.items() if value.dtype.kind in "fiuc"
    }


@pytest.mark.parametrize("name", WITH_VARIABLES)
def test_N17_what_is_rewritten_is_read(name: str) -> None:
    first = ours(name)
    new = other(first)
    files = rewritten(first, new)
    again = read(MemoryFiles(files))
    for key, value in values(again).items():
        np.testing.assert_array_equal(value, new.get(key, first.variables[again_key(first, key)].read()))
    assert [len(m.initializers) for m in again.metagraphs] == [len(m.initializers) for m in first.metagraphs]
    assert files["saved_model.pb"] == contents(FOLDERS[name])["saved_model.pb"]
    assert "fingerprint.pb" not in files and not any("small" in n for n in files)


def again_key(artifact: Artifact, name: str) -> str:
    return next(v.key for v in artifact.variables.values() if v.name == name)


def test_N17_the_old_weights_are_not_needed() -> None:
    first = ours("tf2-keras2")
    new = other(first)
    bare = read(MemoryFiles(first.files))  # its checkpoint also holds what an optimizer kept
    again = read(MemoryFiles(rewritten(bare, new)))
    for key, value in values(again).items():
        np.testing.assert_array_equal(value, new[key])


def test_the_old_weights_are_needed_for_what_is_left_out() -> None:
    first = ours("tf2-half_plus_one")
    with pytest.raises(MissingFileError):
        rewritten(read(MemoryFiles(first.files)), {"weight": np.float32([[2.0]])})
    kept = values(read(MemoryFiles(rewritten(first, {"weight": np.float32([[2.0]])}))))
    assert {n: v.tolist() for n, v in kept.items()} == {"weight": [[2.0]], "bias": [1.0], "unused": 7}


def test_N5_one_part_of_a_partitioned_variable() -> None:
    first = ours("tf1-partitioned")
    part = np.full([2, 3], -1, np.float32)
    again = values(read(MemoryFiles(rewritten(first, {"embeddings/part_10": part}))))
    whole = np.concatenate(list(again.values()))
    expected = np.arange(72).reshape(24, 3)
    expected[20:22] = -1
    np.testing.assert_array_equal(whole, expected)


def test_tables_of_the_checkpoint_survive() -> None:
    first = ours("tf2-tables")
    for source in (first, read(MemoryFiles(first.files))):
        assert len(read(MemoryFiles(rewritten(source, {}))).metagraphs[0].initializers) == 3


def test_constants_of_a_frozen_graph() -> None:
    files = rewritten(ours("frozen"), {"weights": np.ones([3, 4])})
    nodes = read(MemoryFiles(files)).metagraphs[0].signatures["frozen"].traces[0].graph.nodes
    np.testing.assert_array_equal(np.asarray(nodes["weights"].attrs["value"]), np.ones([3, 4], np.float32))


@pytest.mark.parametrize(
    ("name", "new", "message"),
    [
        ("tf1-half_plus_two", {"c": np.zeros(())}, "it has none called 'c'"),
        ("tf1-half_plus_two", {"a": np.zeros(2)}, r"of other shapes: a \[2\], not \[\]"),
        ("frozen", {"c": np.zeros(())}, "it has none called 'c'"),
        ("frozen", {"weights": np.zeros(2)}, r"of other shapes: weights \[2\], not \[3, 4\]"),
    ],
)
def test_weights_without_a_place_are_refused(name: str, new: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(WeightsNotPlacedError, match=message):
        rewritten(ours(name), new)


@pytest.mark.skipif(os.environ["KERAS_BACKEND"] != "tensorflow", reason="only that run has TensorFlow")
@pytest.mark.parametrize("name", WITH_VARIABLES)
def test_N17_TensorFlow_reads_what_is_rewritten(name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    first = ours(name)
    new = other(first)
    for file, data in rewritten(first, new).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    reader = tf.train.load_checkpoint(str(tmp_path / "variables" / "variables"))
    for variable in read(DirectoryFiles(tmp_path)).variables.values():
        stored = variable.read.stored  # type: ignore[attr-defined]
        value = reader.get_tensor(stored.key)
        np.testing.assert_array_equal(value[stored.place] if stored.length else value, variable.read())
    with (
        tf.Graph().as_default() as graph,
        tf.compat.v1.Session(graph=graph) as session,
    ):  # also restores, by TensorFlow's own operations
        if first.format != "tf1_hub":
            tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
            for variable in graph.get_collection("variables"):
                if variable.op.name in new:
                    np.testing.assert_array_equal(session.run(variable), new[variable.op.name])
    if first.format == "tf2_saved_model":
        tf.saved_model.load(str(tmp_path))
