"""The loss of connectionist temporal classification, and its gradient, both found in one pass forward and one backward.

On the host, since lengths of labels are data. The gradient is not that of the steps: it is the op's own second output, as in
TensorFlow. Imports the registry and the way to the host.
"""

from collections.abc import Callable

import numpy as np
from keras import ops

from thaw.lowering.detection import Outputs, on_host
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of, on_device

NEVER = -1e300
"""The logarithm of a probability of zero, finite, so that differences of two are no NaN."""


def alignments(scores: np.ndarray, states: np.ndarray, jump: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """Log probabilities (time, states) of having come to each state of a label by each step, that step included.

    Args:
        scores: log probabilities of the classes (time, classes).
        states: the class of each state: labels with blanks around them.
        jump: whether a state may follow the one two before it.
        stay: whether a state may follow itself.
    """
    emitted = scores[:, states]
    reached = np.full(emitted.shape, NEVER)
    reached[0, :2] = emitted[0, :2]
    for t in range(1, len(emitted)):
        before = reached[t - 1]
        ways = np.where(stay, before, NEVER)
        ways[1:] = np.logaddexp(ways[1:], before[:-1])
        ways[2:] = np.logaddexp(ways[2:], np.where(jump[2:], before[:-2], NEVER))
        reached[t] = np.maximum(ways + emitted[t], NEVER)
    return reached


def of_sequence(scores: np.ndarray, label: np.ndarray, blank: int, merge: bool) -> tuple[float, np.ndarray]:
    """The loss of one sequence (time, classes) of log probabilities, and its gradient by the scores before the softmax."""
    probabilities = np.exp(scores)
    if not len(scores):
        return 0.0, probabilities
    states = np.full(2 * len(label) + 1, blank)
    states[1::2] = label
    stay = merge | (states == blank)
    jump = states != blank
    jump[2:] &= ~(merge & (states[2:] == states[:-2]))
    forward = alignments(scores, states, jump, stay)
    # Backwards the same walk, on the reversed label: a state there follows what it precedes here.
    reversed_jump = np.zeros_like(jump)
    reversed_jump[2:] = jump[2:][::-1]
    backward = alignments(scores[::-1], states[::-1], reversed_jump, stay[::-1])[::-1, ::-1]
    both = forward + backward - scores[:, states]
    total = float(np.logaddexp.reduce(both[0]))
    if total <= NEVER / 2:
        return np.inf, probabilities
    gradient = probabilities.copy()
    taken = np.exp(both - total)
    for state, of_class in enumerate(states):
        gradient[:, of_class] -= taken[:, state]
    return -total, gradient


def labels_of(indices: np.ndarray, values: np.ndarray, batch: int, blank: int, collapse: bool) -> list[np.ndarray]:
    """The labels of each sequence, those that repeat the one before left out where asked for."""
    order = np.lexsort((indices[:, 1], indices[:, 0]))
    rows = [values[order][indices[order, 0] == b] for b in range(batch)]
    if collapse:
        rows = [row[np.concatenate([[True], row[1:] != row[:-1]])] if len(row) else row for row in rows]
    return rows


def losses(
    op: str, inputs: Value, indices: Value, values: Value, lengths: Value, blank: int, collapse: bool, merge: bool, skip: bool
) -> tuple[Value, Value]:
    """The loss of each sequence, differentiable by the scores, and that gradient."""

    def run(inputs: np.ndarray, indices: np.ndarray, values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        _, batch, classes = inputs.shape
        wide = inputs.astype("float64")
        with np.errstate(invalid="ignore"):  # NaN gives NaN
            wide = wide - np.logaddexp.reduce(wide, axis=2, keepdims=True) if classes else wide
        loss, gradient = np.zeros(batch, inputs.dtype), np.zeros_like(inputs)
        for b, label in enumerate(labels_of(indices, values, batch, blank, collapse)):
            length = int(lengths[b])
            if length > len(inputs):
                raise ValueError(f"{op}: sequence_length[{b}] is {length}, but the scores have {len(inputs)} steps")
            if label.size and (label.min() < 0 or label.max() >= classes or (label == blank).any()):
                raise ValueError(
                    f"{op}: the labels {label.tolist()} of sequence {b}, {classes} classes, of which {blank} is the blank"
                )
            if length and len(label) > length:
                if skip:
                    continue
                raise ValueError(f"{op}: sequence {b} has {len(label)} labels for {length} steps")
            if length:
                loss[b], gradient[:length, b] = of_sequence(wide[:length, b], label, blank, merge)
        return [loss, gradient]

    steps, batch, classes = inputs.shape
    dtype = dtype_of(inputs)
    outputs: Outputs = [((batch,), dtype), ((steps, batch, classes), dtype)]
    loss, gradient = (
        ops.stop_gradient(on_device(v)) for v in on_host(run, outputs, [inputs, indices, values, lengths], "labels")
    )
    x = on_device(inputs)
    carried = ops.sum((x - ops.stop_gradient(x)) * gradient, axis=(0, 2))  # zero, with the gradient as its derivative
    return loss + carried, gradient


def _loss_op(op: str, line: str, blank_of: Callable[[int], int]) -> None:
    def ctc_loss(
        inputs: Value,
        labels_indices: Value,
        labels_values: Value,
        sequence_length: Value,
        *,
        preprocess_collapse_repeated: bool = False,
        ctc_merge_repeated: bool = True,
        ignore_longer_outputs_than_inputs: bool = False,
    ) -> tuple[Value, Value]:
        flags = (preprocess_collapse_repeated, ctc_merge_repeated, ignore_longer_outputs_than_inputs)
        return losses(op, inputs, labels_indices, labels_values, sequence_length, blank_of(int(inputs.shape[2])), *flags)

    ctc_loss.__doc__ = line
    lowering(op)(ctc_loss)


_loss_op(
    "CTCLoss", "The negated log likelihood of labels, the last class being the blank; and its gradient.", lambda count: count - 1
)
_loss_op("CTCLossV2", "CTCLoss with the first class as the blank.", lambda count: 0)
