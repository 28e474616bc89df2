"""Fine-tuned weights back in the format that they came from: read by us, and by TensorFlow where it is the backend (N17)."""

import os
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from cli.command import thaw as command
from frozen_graphs import FrozenGraph
from thaw.errors import ExportTargetError, NotExportableError

MODELS = Path(__file__).parent / "models"
DIGITS = Path(__file__).parents[1] / "samples" / "digits"
needs_tensorflow = pytest.mark.skipif(os.environ["KERAS_BACKEND"] != "tensorflow", reason="only that run has TensorFlow")


def array(value: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def dense_frozen(folder: Path) -> Path:
    """Two dense layers of constants: one large enough to be a variable anyway, one that is lifted only on demand."""
    random = np.random.default_rng(0)
    graph = FrozenGraph()
    graph.placeholder("x", (-1, 40))
    graph.constant("first/kernel", random.normal(size=(40, 50)))
    graph.constant("second/kernel", random.normal(size=(50, 3)))
    graph.op("first", "MatMul", "x", "first/kernel", T="float32")
    graph.op("active", "Tanh", "first", T="float32")
    graph.op("second", "MatMul", "active", "second/kernel", T="float32")
    folder.mkdir(exist_ok=True)
    return graph.write(folder / "dense.pb")


def opened(name: str, folder: Path) -> tuple[thaw.KerasLayer, np.ndarray]:
    """A layer with other weights than were published, and an input for it."""
    random = np.random.default_rng(1)
    if name == "frozen":
        layer, x = thaw.KerasLayer(dense_frozen(folder / "source")), random.random((2, 40), "float32")
    elif name == "frozen-lifted":
        layer = thaw.KerasLayer(dense_frozen(folder / "source"), lift_constants=True)
        x = random.random((2, 40), "float32")
    elif name == "digits":
        layer, x = thaw.KerasLayer(DIGITS), random.random((2, 8, 8, 1), "float32")
    elif name == "words":
        layer, x = thaw.KerasLayer(MODELS / "behaviour" / "words"), np.array(["a", "b"], dtype=object)
    elif name == "sentences":
        layer, x = thaw.KerasLayer(MODELS / "seeds" / "nnlm_like"), np.array(["the cat", "mat"], dtype=object)
    else:
        source = {"tf1_hub": "batch_norm", "tf1_saved_model": "renamed"}[name]
        layer, x = thaw.KerasLayer(MODELS / "tf1" / source, **ARGUMENTS.get(name, {})), None
        (spec,) = layer.program.variants[0].trace.kwargs.values()
        x = random.random(tuple(n or 2 for n in spec.shape), "float32")
    for variable in layer.source_variables.values():
        if "float" in variable.dtype:
            variable.assign(array(variable) * 1.25)
    return layer, x


ARGUMENTS = {"tf1_saved_model": {"signature": "serving_default", "output_key": "y"}}
FORMATS = ["digits", "words", "sentences", "tf1_hub", "tf1_saved_model", "frozen", "frozen-lifted"]


def target(name: str, folder: Path) -> Path:
    return folder / ("tuned.pb" if name.startswith("frozen") else "tuned")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_answers_as_the_layer_N17(name: str, tmp_path: Path) -> None:
    layer, x = opened(name, tmp_path)
    out = thaw.export(layer, target(name, tmp_path))
    again = thaw.KerasLayer(out, **ARGUMENTS.get(name, {}))
    np.testing.assert_array_equal(array(again(x)), array(layer(x)))
    assert again.resolved_object.format == layer.resolved_object.format
    assert not [p.name for p in tmp_path.iterdir() if "partial" in p.name]


@needs_tensorflow
@pytest.mark.parametrize("name", FORMATS)
def test_TensorFlow_serves_what_is_exported_N17(name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    layer, x = opened(name, tmp_path)
    out = thaw.export(layer, target(name, tmp_path))
    expected = array(layer(x))
    if name.startswith("frozen"):
        proto = tf.compat.v1.GraphDef.FromString(out.read_bytes())
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            (answer,) = tf.import_graph_def(proto, return_elements=["second:0"], name="")
            np.testing.assert_allclose(session.run(answer, {"x:0": x}), expected, rtol=1e-5, atol=1e-6)
        return
    loaded = tf.saved_model.load(str(out), tags=[] if name == "tf1_hub" else ["serve"])
    if callable(loaded):
        answer = loaded(tf.constant(x))
    else:
        serve = next(iter(loaded.signatures.values()))
        (key,) = serve.structured_input_signature[1]
        answers = serve(**{key: tf.constant(x)})
        answer = next(answers[key] for key in ("default", "y", *answers) if key in answers)
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["digits", "frozen-lifted"])
def test_from_a_saved_model_alone_by_the_command_N17(name: str, tmp_path: Path) -> None:
    layer, x = opened(name, tmp_path)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    expected = array(model(x))
    config = tmp_path / "model.keras"
    model.save(config)
    saved = keras.saving.load_model
    layer.handle = str(tmp_path / "gone")
    model.save(config)
    out = target(name, tmp_path)
    done = command("export", config, out)
    assert done.exit_code == 0 and done.stdout.startswith(f"wrote {out}: "), done.output
    np.testing.assert_array_equal(array(thaw.KerasLayer(out)(x)), expected)
    assert saved is keras.saving.load_model


@pytest.mark.parametrize("everything", [False, True])
def test_the_constants_of_a_frozen_graph_are_stored_once_N17(everything: bool, tmp_path: Path) -> None:
    layer = thaw.KerasLayer(dense_frozen(tmp_path / "source"), lift_constants=everything)
    x = np.random.default_rng(0).random((2, 40), "float32")
    expected = array(layer(x))
    layer.handle = str(tmp_path / "gone")
    config = layer.get_config()
    stored = sum(map(len, config["artifact"].values()))
    assert stored < 2500 if not everything else stored < 1000  # 8,000 and 8,600 bytes of weights
    model = keras.Sequential([keras.Input((40,)), layer])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(again(x)), expected)


def test_an_artifact_without_variables_is_copied_N17(tmp_path: Path) -> None:
    out = thaw.export(thaw.KerasLayer(MODELS / "behaviour" / "dict_output"), tmp_path / "out")
    assert thaw.KerasLayer(out).count_params() == 0


@needs_tensorflow
def test_lifted_constants_of_a_SavedModel_are_written_back_N17(tmp_path: Path) -> None:
    import tensorflow as tf

    kernels = [np.random.default_rng(i).normal(size=(4, 4)).astype("float32") for i in range(2)]

    class Baked(tf.Module):  # two functions, each with a constant of one name
        @tf.function(input_signature=[tf.TensorSpec([None, 4])])
        def one(self, x):
            return tf.matmul(x, tf.constant(kernels[0], name="kernel"))

        @tf.function(input_signature=[tf.TensorSpec([None, 4])])
        def __call__(self, x):
            return tf.matmul(self.one(x), tf.constant(kernels[1], name="kernel"))

    tf.saved_model.save(Baked(), str(tmp_path / "baked"))
    layer = thaw.KerasLayer(tmp_path / "baked", lift_constants=True)
    assert len(layer.source_variables) == 2
    for factor, variable in enumerate(layer.source_variables.values()):
        variable.assign(array(variable) * (factor + 2))
    x = np.random.default_rng(2).random((3, 4), "float32")
    out = thaw.export(layer, tmp_path / "out")
    np.testing.assert_allclose(array(layer(x)), 6 * x @ kernels[0] @ kernels[1], rtol=1e-4)
    np.testing.assert_allclose(tf.saved_model.load(str(out))(x), array(layer(x)), rtol=1e-5)


def test_heads_around_the_layer_are_not_lost_in_silence_N17(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(DIGITS)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(2, name="head")])
    with pytest.raises(NotExportableError, match=rf"head \(Dense\).*get_layer\('{layer.name}'\)"):
        thaw.export(model, tmp_path / "out")
    model.save(tmp_path / "model.keras")
    refused = command("export", tmp_path / "model.keras", tmp_path / "out")
    assert refused.exit_code == 2 and "head (Dense)" in refused.stderr and not (tmp_path / "out").exists()
    assert command("export", tmp_path / "model.keras", tmp_path / "out", "--layer", layer.name).exit_code == 0
    assert thaw.KerasLayer(tmp_path / "out").count_params() == layer.count_params()


@pytest.mark.parametrize("how", ["inputs", "outputs", "relaxed", "none"])
def test_a_layer_with_another_graph_is_refused_N17(how: str, tmp_path: Path) -> None:
    middle = "digits/block_0_pool/MaxPool"
    if how == "none":
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    elif how == "relaxed":
        model = thaw.KerasLayer(DIGITS)
        model.relaxed = [("Relu", "soft")]
    else:
        model = thaw.KerasLayer(DIGITS, **{how: middle})
    with pytest.raises(NotExportableError, match="cannot be written back"):
        thaw.export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_until_it_may_be_replaced_N17(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(DIGITS)
    out = thaw.export(layer, tmp_path / "out")
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ExportTargetError, match="is there already"):
        thaw.export(layer, out)
    assert (out / "mine.txt").exists()
    thaw.export(layer, out, overwrite=True)
    assert not (out / "mine.txt").exists() and [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ExportTargetError, match="does not exist"):
        thaw.export(layer, tmp_path / "nowhere" / "out")
    with pytest.raises(ExportTargetError, match=r"does not end with \.pb"):
        thaw.export(thaw.KerasLayer(dense_frozen(tmp_path / "source")), tmp_path / "frozen")


@pytest.mark.parametrize("end", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full-disk", "interrupt"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "overwrite"])
def test_an_export_that_ends_early_leaves_what_was_there_N17(
    end: BaseException, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = thaw.KerasLayer(DIGITS)
    if there:
        thaw.export(layer, tmp_path / "out")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    count = iter(range(100))

    def fails(_: int) -> None:
        if next(count) == 1:
            raise end

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises((ExportTargetError, KeyboardInterrupt)):
        thaw.export(layer, tmp_path / "out", overwrite=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    if there:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            thaw.KerasLayer(tmp_path / "out")
