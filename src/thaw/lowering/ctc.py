"""Decoding connectionist temporal classification: sequences of labels from scores over time. On the host, without gradients.

Results are sparse, as TensorFlow returns them: indices, values, shape. Imports the registry and the way to the host.
"""

from collections.abc import Sequence

import numpy as np

from thaw.lowering.detection import Outputs, on_host
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value

Prefix = tuple[int, ...]


def sparse(rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Indices (n, 2), values (n,) and shape (2,) of sequences of different lengths."""
    indices = [(b, t) for b, row in enumerate(rows) for t in range(len(row))]
    longest = max((len(row) for row in rows), default=0)
    return [
        np.array(indices, "int64").reshape(-1, 2),
        np.array([label for row in rows for label in row], "int64"),
        np.array([len(rows), longest], "int64"),
    ]


@lowering("CTCGreedyDecoder", gradient="none")
def ctc_greedy_decoder(
    inputs: Value, sequence_length: Value, *, merge_repeated: bool = False, blank_index: int = -1
) -> tuple[Value, ...]:
    """The best label of each step, blanks dropped; and the negated sum of the scores taken."""
    batch, classes = inputs.shape[1:]
    blank = blank_index % int(classes)

    def run(inputs: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        rows, scores = [], np.zeros((inputs.shape[1], 1), inputs.dtype)
        for b, length in enumerate(lengths):
            best = inputs[: int(length), b].argmax(1)
            before = np.concatenate([[-1], best[:-1]]) if merge_repeated else np.full(len(best), -1)
            rows.append([int(label) for label, last in zip(best, before, strict=True) if label not in {blank, last}])
            scores[b] = -inputs[: int(length), b].max(1).sum()
        return [*sparse(rows), scores]

    outputs: Outputs = [((None, 2), "int64"), ((None,), "int64"), ((2,), "int64"), ((batch, 1), "float32")]
    return on_host(run, outputs, [inputs, sequence_length], "inputs")


def beams(scores: np.ndarray, width: int) -> list[tuple[Prefix, float]]:
    """The likeliest sequences for log probabilities (time, classes), the last class being the blank, and theirs.

    A prefix carries two log probabilities: of ending in a blank, and in its last label.
    Source: tensorflow/core/util/ctc/ctc_beam_search.h.
    """
    blank = scores.shape[1] - 1
    current: dict[Prefix, tuple[float, float]] = {(): (0.0, -np.inf)}
    for step in scores.tolist():
        total = {p: float(np.logaddexp(*v)) for p, v in current.items()}
        grown: dict[Prefix, tuple[float, float]] = {}
        for prefix, (in_blank, in_label) in current.items():
            ends = -np.inf
            if prefix:
                parent = prefix[:-1]
                ends = in_label
                if parent in current:
                    repeats = len(parent) > 0 and parent[-1] == prefix[-1]
                    ends = float(np.logaddexp(ends, current[parent][0] if repeats else total[parent]))
                ends += step[prefix[-1]]
            grown[prefix] = (total[prefix] + step[blank], ends)
            for label in range(blank):
                child = (*prefix, label)
                if child not in current:
                    repeats = len(prefix) > 0 and prefix[-1] == label
                    grown[child] = (-np.inf, step[label] + (in_blank if repeats else total[prefix]))
        best = sorted(grown.items(), key=lambda row: -np.logaddexp(*row[1]))[:width]
        current = dict(best)
    ranked = sorted(current.items(), key=lambda row: -np.logaddexp(*row[1]))
    return [(prefix, float(np.logaddexp(*v))) for prefix, v in ranked]


@lowering("CTCBeamSearchDecoder", gradient="none")
def ctc_beam_search_decoder(
    inputs: Value, sequence_length: Value, *, beam_width: int, top_paths: int, merge_repeated: bool = True
) -> tuple[Value, ...]:
    """The likeliest sequences, best first, and their log probabilities: indices, values and shapes of each rank."""
    batch = inputs.shape[1]

    def run(inputs: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        wide = inputs.astype("float64")
        wide = wide - np.logaddexp.reduce(wide, axis=2, keepdims=True)
        found = [beams(wide[: int(n), b], beam_width)[:top_paths] for b, n in enumerate(lengths)]
        ranks = [[merged(row[k][0], merge_repeated) if k < len(row) else () for row in found] for k in range(top_paths)]
        decoded = [sparse(rows) for rows in ranks]
        likely = [[row[k][1] if k < len(row) else -np.inf for k in range(top_paths)] for row in found]
        parts = [d[i] for i in range(3) for d in decoded]
        return [*parts, np.array(likely, inputs.dtype).reshape(-1, top_paths)]

    outputs: Outputs = [
        *[((None, 2), "int64")] * top_paths,
        *[((None,), "int64")] * top_paths,
        *[((2,), "int64")] * top_paths,
        ((batch, top_paths), "float32"),
    ]
    return on_host(run, outputs, [inputs, sequence_length], "inputs")


def merged(labels: Prefix, merge_repeated: bool) -> Prefix:
    """`labels`, where asked for without those that repeat the one before."""
    if not merge_repeated:
        return labels
    return tuple(label for i, label in enumerate(labels) if i == 0 or labels[i - 1] != label)
