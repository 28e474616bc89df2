"""A handful of small real models against what TensorFlow recorded for them; all of them, with all stages: `make corpus`."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "shared" / "models"
HANDFUL = (
    "a_tfhub_half_plus_two_v1",
    "c_multi_input_stock",
    "d_espcn_frozen",
    "made_frozen_graph",
    "made_tf1hub_nnlm",
)


@pytest.fixture(scope="module")
def board() -> ModuleType:
    """The scoreboard's code."""
    spec = importlib.util.spec_from_file_location("score", HERE / "score.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", HANDFUL)
def test_real_model_reads_runs_and_answers_as_tensorflow_did(name: str, board: ModuleType, tmp_path: Path) -> None:
    if not (MODELS / name).is_dir():
        pytest.skip(f"{name} is not there: the recorded models are no part of the project (see tests/corpus/score.py)")
    row = board.score(board.unpacked(MODELS / name, tmp_path), stages=("reads", "runs", "output"))
    assert [row[stage][:3] for stage in ("reads", "runs", "output")] == ["yes"] * 3, row
