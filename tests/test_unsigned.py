"""Artifacts that nobody signed: graphs of TensorFlow 1 by the names of their tensors, objects of TensorFlow 2 by their path."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from formats.sample import FOLDERS, contents, saved_model
from thaw.errors import HubArgumentError, NoSignatureError, UnknownTensorError
from thaw.inspection import list_tensors
from thaw.wire.protos import Message, new


def array(value: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def written(name: str, proto: Message, folder: Path) -> Path:
    """The artifact of that name with another graph."""
    for file, data in (contents(FOLDERS[name]) | {"saved_model.pb": proto.SerializeToString()}).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    return folder


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    """A plain SavedModel of TensorFlow 1 without a signature, under a tag of its own, with a placeholder that training needs."""
    proto = saved_model(FOLDERS["tf1-renamed"])
    metagraph = proto.meta_graphs[0]
    metagraph.signature_def.clear()
    metagraph.meta_info_def.tags[:] = ["tag"]
    nodes = metagraph.graph_def.node
    labels, loss = nodes.add(name="labels", op="Placeholder"), nodes.add(name="loss", op="Sub")
    labels.attr["dtype"].type = loss.attr["T"].type = 1
    loss.input[:] = ["add", "labels"]
    return written("tf1-renamed", proto, tmp_path / "unsigned")


def answers() -> tuple[np.ndarray, np.ndarray]:
    row = json.loads((FOLDERS["tf1-renamed"] / "expected.json").read_text())[0]
    return np.array(row["inputs"]["x"], "float32"), np.array(row["outputs"]["y"], "float32")


def test_N15_a_graph_without_signatures_says_what_could_be_run(unsigned: Path) -> None:
    with pytest.raises(NoSignatureError, match=r"placeholders 'labels', 'x'.*'loss'.*`outputs=`") as caught:
        thaw.KerasLayer(unsigned)
    assert "gradients" not in str(caught.value)
    found = thaw.inspect(unsigned)
    assert "outputs= chooses among its tensors" in found.reasons[0]
    assert [sorted(s.inputs) for s in found.signatures] == [["labels", "x"]]
    assert ("add", "AddV2") in list_tensors(unsigned)


def test_S10_a_graph_without_signatures_runs_by_the_names_of_its_tensors(unsigned: Path) -> None:
    given, expected = answers()
    layer = thaw.KerasLayer(unsigned, outputs="add", tags=["tag"])
    np.testing.assert_allclose(array(layer(given)), expected, rtol=1e-5)
    assert set(layer.source_variables) == {"net/weights", "net/bias"}
    both = thaw.KerasLayer(unsigned, outputs=["add", "loss"])({"x": given, "labels": np.ones_like(expected)})
    np.testing.assert_allclose(array(both[1]), expected - 1, rtol=1e-5)
    middle = thaw.KerasLayer(unsigned, inputs="MatMul", outputs="add")
    assert set(middle.source_variables) == {"net/bias"}
    np.testing.assert_allclose(array(middle(array(layer.tap("MatMul")(given)))), expected, rtol=1e-5)
    with pytest.raises(UnknownTensorError):
        thaw.KerasLayer(unsigned, outputs="nothing_of_that_name")


def test_S10_a_graph_without_signatures_trains_and_is_saved(unsigned: Path, tmp_path: Path) -> None:
    given, expected = answers()
    model = keras.Sequential([keras.Input((4,)), thaw.KerasLayer(unsigned, outputs="add", trainable=True)])
    model.compile("sgd", "mse")
    model.fit(given, np.zeros_like(expected), verbose=0)
    after = array(model(given))
    assert not np.allclose(after, expected)
    model.save(tmp_path / "model.keras")
    unsigned.rename(tmp_path / "elsewhere")
    np.testing.assert_allclose(array(keras.saving.load_model(tmp_path / "model.keras")(given)), after, rtol=1e-6)


def test_N15_the_objects_that_can_be_called_are_named_and_one_is_chosen_by_its_path(tmp_path: Path) -> None:
    proto = saved_model(FOLDERS["tf2-half_plus_one"])
    objects = proto.meta_graphs[0].object_graph_def.nodes
    whole = thaw.KerasLayer(FOLDERS["tf2-half_plus_one"])
    number = len(objects)
    objects.add().CopyFrom(objects[0])
    children = [c for c in objects[number].children if c.local_name != "signatures"]
    del objects[0].children[:], objects[number].children[:]
    objects[number].children.extend(children)
    objects[0].children.append(new("ObjectReference", node_id=number, local_name="query_model"))
    folder = written("tf2-half_plus_one", proto, tmp_path / "index")
    for wanted in (None, "candidates"):
        with pytest.raises(NoSignatureError, match=r"can be called, though: 'query_model'\. Pass"):
            thaw.KerasLayer(folder, signature=wanted)
    assert "signature= chooses among query_model" in thaw.inspect(folder).reasons[0]
    layer = thaw.KerasLayer(folder, signature="query_model", trainable=True)
    given = np.array([[1.0], [3.0]], "float32")
    np.testing.assert_array_equal(array(layer(given)), array(whole(given)))
    assert set(layer.source_variables) == set(whole.source_variables) - {"unused"}
    assert thaw.inspect(folder, signature="query_model").signatures


def test_N15_several_signatures_without_a_default_are_shown_and_asked_for(tmp_path: Path) -> None:
    proto = saved_model(FOLDERS["tf1-renamed"])
    signatures = proto.meta_graphs[0].signature_def
    for name in ("action", "value"):
        signatures[name].CopyFrom(signatures["serving_default"])
    del signatures["serving_default"]
    folder = written("tf1-renamed", proto, tmp_path / "several")
    found = thaw.inspect(folder)
    assert [s.name for s in found.signatures] == ["action", "value"]
    assert found.verdict == "yes"
    assert found.reasons[0] == "there is no default: signature= chooses among action, value; the ops are those of action"
    with pytest.raises(HubArgumentError, match="a choice among 'action', 'value'"):
        thaw.KerasLayer(folder)
