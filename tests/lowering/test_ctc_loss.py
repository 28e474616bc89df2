"""CTCLossV2, which TensorFlow runs on GPUs only: CTCLoss with the first class as the blank."""

import keras
import numpy as np
import pytest

from gradients import vjp
from lowering.cases.ctc_loss import CASES
from thaw.errors import LoweringError
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.run import Context, Plan, Resources


def plan(op: str, attrs=None) -> Plan:
    places = tuple(Tensor(f"in{i}") for i in range(4))
    node = Node("loss", op, places, attrs=attrs or {})
    return Plan(Graph("g", {"loss": node}, places, (Tensor("loss"), Tensor("loss", 1))), {})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_it_is_the_first_version_on_moved_classes(case):
    scores, indices, labels, lengths = case.inputs
    scores = scores.astype("float32")
    moved = np.roll(scores, 1, axis=2)  # the blank, the last class, becomes the first
    weights = np.random.default_rng(3).standard_normal(scores.shape[1]).astype("float32")
    answers = []
    for op, x, ids in (("CTCLoss", scores, labels), ("CTCLossV2", moved, labels + 1)):
        own = plan(op, case.attrs)

        def loss(x, own=own, ids=ids):
            return own.run(Context(Resources()), [x, indices, ids, lengths])[:1]

        answers.append(vjp(loss, [x], [weights], jit=True))
    (first, (gradient,)), (second, (moved_gradient,)) = answers
    convert = keras.ops.convert_to_numpy
    np.testing.assert_allclose(convert(second[0]), convert(first[0]), rtol=1e-6)
    np.testing.assert_allclose(convert(moved_gradient), np.roll(convert(gradient), 1, axis=2), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "lengths", "told"),
    [([0, 1], [9], "9, but the scores have 3 steps"), ([3, 1], [3], "the blank"), ([0] * 4, [3], "4 labels for 3 steps")],
)
def test_labels_that_do_not_fit_are_refused(labels, lengths, told):
    indices = np.array([(0, t) for t in range(len(labels))], "int64")
    inputs = [np.zeros((3, 1, 4), "float32"), indices, np.array(labels, "int32"), np.array(lengths, "int32")]
    with pytest.raises(LoweringError, match=told):
        plan("CTCLoss").run(Context(Resources()), inputs)
