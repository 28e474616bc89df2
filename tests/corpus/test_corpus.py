"""The scoreboard on small real models, and the scoreboard itself.

All models with all stages take from a quarter of an hour (PyTorch, TensorFlow) to an hour (JAX, which compiles every one): `make
corpus`. Here are those that cost least, of every kind: TF1 Hub, TF2, Keras' and plain SavedModels, frozen graphs, `.h5`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from corpus import board, layouts
from corpus.goldens import Golden, as_numpy, compare_drawn
from corpus.made_up import candidates
from corpus.stages import score
from frozen_graphs import FrozenGraph

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "shared" / "models"
OURS = HERE.parent / "models"
CHEAP = (
    "a_mediapipe_hub_v1_mini_train",
    "a_tfhub_half_plus_two_v1",
    "c_multi_input_stock",
    "c_textvec_twrzeszcz",
    "c_vae",
    "d_captcha_frozen",
    "d_espcn_frozen",
    "d_mlnet_string_sm",
    "d_serving_half_plus_two_cpu",
    "d_tfx_taxi_trained",
    "e_heart_h5",
    "made_frozen_graph",
    "made_tf1_plain_savedmodel",
    "made_tf1hub_nnlm",
)


def misses(row: board.Row) -> dict[str, str]:
    """What the row says no to, by stage."""
    return {stage: row[stage] for stage in board.STAGES if board.verdict(row[stage]) == "no"}


@pytest.mark.parametrize("name", CHEAP)
def test_real_model_passes_every_stage(name: str) -> None:
    if not (MODELS / name).is_dir():
        pytest.skip(f"{name} is not there: the recorded models are no part of the project (see tests/corpus/score.py)")
    with layouts.laid_out(MODELS / name) as path:
        row = score(path)
    assert board.verdict(row["reads"]) == board.verdict(row["runs"]) == "yes", row
    assert not misses(row), row


@pytest.mark.skipif(not (MODELS / "d_deepmd_cu_frozen").is_dir(), reason="the recorded models are no part of the project")
def test_custom_ops_are_named_all_at_once() -> None:
    with layouts.laid_out(MODELS / "d_deepmd_cu_frozen") as path:
        row = score(path)
    assert all(op in row["reads"] for op in ("UnsupportedOpsError", "DescrptSeA", "ProdForceSeA", "ProdVirialSeA")), row


@pytest.mark.parametrize("model", ["behaviour/dict_output", "keras2/sequential.keras"])
def test_a_model_without_goldens_is_scored_on_made_up_inputs(model: str) -> None:
    row = score(OURS / model)
    assert not misses(row), row
    assert "made-up" in row["runs"]


def test_gradients_without_goldens_are_held_against_finite_differences(tmp_path: Path) -> None:
    """Scores a graph whose gradient is right, and one that the publisher told TensorFlow to stop halfway."""
    right = _graph(tmp_path / "right.pb", "Tanh")
    assert score(right)["gradient"].startswith("yes (finite differences")
    stopped = _graph(tmp_path / "stopped.pb", "StopGradient")
    assert score(stopped)["gradient"].startswith(("no: off", "- (no gradient"))


def test_rows_of_ones_with_which_keras_tries_a_model_out_are_empty_strings() -> None:
    from thaw.lowering.packing import pack, unpack

    assert unpack(np.ones((2, 3, 4), "uint8")).tolist() == [b"", b""]
    assert unpack(np.ones((2, 3, 4), "uint8"), b"a").tolist() == [b"a", b"a"]
    assert unpack(pack(np.array([b"", b"\x01", b"a\x01"], object))).tolist() == [b"", b"\x01", b"a\x01"]


@pytest.mark.skipif(not (MODELS / "d_tfx_taxi_trained").is_dir(), reason="the recorded models are no part of the project")
def test_serialized_examples_go_through_fit() -> None:
    with layouts.laid_out(MODELS / "d_tfx_taxi_trained") as path:
        layer = thaw.KerasLayer(path, trainable=True, signature="serving_default", output_key="scores")
        examples = next(candidates(layer.program, 4))["inputs"]
        inputs = keras.Input((), dtype="string")
        model = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        before = [as_numpy(v).copy() for v in layer.trainable_variables]
        assert np.isfinite(model.fit(examples, np.array([0, 1, 0, 1]), verbose=0).history["loss"]).all()
        assert any(not np.array_equal(b, as_numpy(v)) for b, v in zip(before, layer.trainable_variables, strict=True))


def _graph(file: Path, middle: str) -> Path:
    """`x @ w` through `middle`, beside it; weights as constants."""
    graph = FrozenGraph()
    graph.placeholder("x", (-1, 4))
    graph.constant("w", np.random.default_rng(0).standard_normal((4, 3)))
    graph.op("product", "MatMul", "x", "w", T="float32")
    graph.op("middle", middle, "product", T="float32")
    graph.op("y", "Add", "product", "middle", T="float32")
    return graph.write(file)


def test_what_is_drawn_is_compared_as_draws() -> None:
    random = np.random.default_rng(0)
    draws = [{"0": random.standard_normal((4, 9)).astype("float32") + 3} for _ in range(12)]
    like = Golden("v", parts={"out": {"0": random.standard_normal((4, 9)).astype("float32") + 3}})
    unlike = Golden("v", parts={"out": {"0": random.standard_normal((4, 9)).astype("float32") + 30}})
    assert compare_drawn(draws, like)[0] == 0
    assert compare_drawn(draws, unlike)[0] == float("inf")


# The command


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(HERE / "score.py"), *map(str, arguments), "--backend", keras.backend.backend()]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=300)


def test_an_empty_folder_and_one_of_junk_are_told(tmp_path: Path) -> None:
    empty = run(tmp_path)
    assert empty.returncode == 2
    assert "holds no model" in empty.stderr
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"\x89PNG")
    junk = run(tmp_path)
    assert junk.returncode == 2
    assert "not models: notes.txt, photos" in junk.stderr


def test_one_row_a_model_whatever_it_does_and_files_that_say_why(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    _graph(folder / "good.pb", "Tanh")
    (folder / "damaged.pb").write_bytes(b"\xff" * 40)
    (folder / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08 and then nothing")
    done = run(folder, "--json", tmp_path / "rows.json", "--markdown", tmp_path / "rows.md")
    assert done.returncode == 0, done.stderr
    rows = {row["model"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert set(rows) == {"good.pb", "damaged.pb", "cut.tar.gz"}
    assert not misses(rows["good.pb"]), rows
    assert rows["good.pb"]["memory"] > 0
    assert "Error" in rows["damaged.pb"]["reads"]
    assert "Error" in rows["cut.tar.gz"]["reads"]
    assert "reads 1/3" in (tmp_path / "rows.md").read_text()
    assert "[3/3" in done.stderr
    again = run(folder, "--json", tmp_path / "rows.json", "--resume", "--timeout", 0.01)
    assert again.returncode == 0
    assert "reads 1/3" in again.stdout  # what was scored was kept, not scored anew


def test_a_hang_is_a_row(tmp_path: Path) -> None:
    done = run(_graph(tmp_path / "slow.pb", "Tanh"), "--timeout", 0.2, "--json", tmp_path / "rows.json")
    assert done.returncode == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["reads"] == "no: took more than 0.2 s"


def test_an_interrupt_keeps_what_was_scored(tmp_path: Path) -> None:
    folder, file = tmp_path / "models", tmp_path / "rows.json"
    folder.mkdir()
    (folder / "a.tar.gz").write_bytes(b"none")
    _graph(folder / "b.pb", "Tanh")
    process = subprocess.Popen(
        command(folder, "--json", file),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: 1 of 2" in said[1]
    assert [row["model"] for row in json.loads(file.read_text())] == ["a.tar.gz"]
    assert "| a.tar.gz |" in said[0]
