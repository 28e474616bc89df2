"""Choosing boxes: non-maximum suppression in all its forms. On the host, in numpy; nothing here has a gradient.

Inside a step that JAX compiles only the forms with outputs of a fixed length run (Combined, and those that pad); the others say
what must be known. Imports the registry, the values and the way to the host of `kernels`.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from thaw.lowering.kernels import call_host, in_compiled_step
from thaw.lowering.registry import lowering
from thaw.lowering.values import NotKnownError, Value, known

Outputs = Sequence[tuple[tuple[int | None, ...], str]]


def on_host(
    function: Callable[..., list[np.ndarray]], outputs: Outputs, values: Sequence[Value], argument: str
) -> tuple[Value, ...]:
    """The answers of a numpy function for `values`, also inside a compiled step where their shapes are known.

    Raises:
        NotKnownError: JAX compiles the step, and a length among `outputs` depends on the data.
    """
    if not in_compiled_step(values):
        return tuple(function(*(np.asarray(known(v, argument)) for v in values)))
    if keras.backend.backend() == "jax" and any(n is None for shape, _ in outputs for n in shape):
        raise NotKnownError(argument)
    return tuple(call_host(function, outputs, [ops.stop_gradient(ops.convert_to_tensor(v)) for v in values]))


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes (n, 4), whichever corners they name: (n, n); 0 for empty ones."""
    y, x = np.sort(boxes[:, 0::2], 1), np.sort(boxes[:, 1::2], 1)
    area = (y[:, 1] - y[:, 0]) * (x[:, 1] - x[:, 0])
    height = np.minimum(y[:, None, 1], y[None, :, 1]) - np.maximum(y[:, None, 0], y[None, :, 0])
    width = np.minimum(x[:, None, 1], x[None, :, 1]) - np.maximum(x[:, None, 0], x[None, :, 0])
    shared = np.maximum(height, 0) * np.maximum(width, 0)
    union = area[:, None] + area[None, :] - shared
    fine = (area[:, None] > 0) & (area[None, :] > 0)
    return np.where(fine, shared / np.where(fine, union, 1), 0)


def suppress(
    similar: np.ndarray, scores: np.ndarray, most: int, similarity: float, least: float = -np.inf, sigma: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and scores of the boxes that stay, best first: each unlike all better ones.

    With `sigma` a box loses score for likeness to better ones instead of being dropped. Equal scores: the lower index first.
    Source: tensorflow/core/kernels/image/non_max_suppression_op.cc.
    """
    queue = [(-float(s), i, 0) for i, s in enumerate(scores) if s > least]
    heapq.heapify(queue)
    chosen: list[int] = []
    kept: list[float] = []
    while queue and len(chosen) < most:
        negative, index, begin = heapq.heappop(queue)
        score, dropped = -negative, False
        for other in reversed(chosen[begin:]):
            likeness = float(similar[index, other])
            if likeness > similarity:
                score, dropped = 0.0, sigma == 0
            elif sigma > 0:
                score *= float(np.exp(-0.5 / sigma * likeness**2))
            if dropped or score <= least:
                break
        if dropped:
            continue
        if score == -negative:
            chosen.append(index)
            kept.append(score)
        elif score > least:
            heapq.heappush(queue, (-score, index, len(chosen)))
    return np.array(chosen, "int32"), np.array(kept, scores.dtype)


def chosen_indices(boxes: Value, scores: Value, most: Value, similarity: Value, least: Value) -> Value:
    """The indices of the boxes that stay."""

    def run(boxes: np.ndarray, scores: np.ndarray, most: np.ndarray, *limits: np.ndarray) -> list[np.ndarray]:
        return [suppress(overlaps(boxes), scores, int(most), *(float(v) for v in limits))[0]]

    values = [boxes, scores, most, similarity, least]
    return on_host(run, [((None,), "int32")], values, "scores")[0]


NO_LIMIT = np.float32(-np.inf)


@lowering("NonMaxSuppression", gradient="none")
def non_max_suppression(boxes: Value, scores: Value, max_output_size: Value, *, iou_threshold: float = 0.5) -> Value:
    """Indices of the best boxes that overlap no better one by more than a threshold."""
    return chosen_indices(boxes, scores, max_output_size, np.float32(iou_threshold), NO_LIMIT)


@lowering("NonMaxSuppressionV2", gradient="none", ignored=("T_threshold",))
def non_max_suppression_v2(boxes: Value, scores: Value, max_output_size: Value, iou_threshold: Value) -> Value:
    """NonMaxSuppression with the threshold as an input."""
    return chosen_indices(boxes, scores, max_output_size, iou_threshold, NO_LIMIT)


@lowering("NonMaxSuppressionV3", gradient="none", ignored=("T_threshold",))
def non_max_suppression_v3(
    boxes: Value, scores: Value, max_output_size: Value, iou_threshold: Value, score_threshold: Value
) -> Value:
    """NonMaxSuppressionV2 among the boxes with more than a score."""
    return chosen_indices(boxes, scores, max_output_size, iou_threshold, score_threshold)


@lowering("NonMaxSuppressionWithOverlaps", gradient="none")
def non_max_suppression_with_overlaps(
    overlaps: Value, scores: Value, max_output_size: Value, overlap_threshold: Value, score_threshold: Value
) -> Value:
    """NonMaxSuppressionV3 by given likenesses (n, n) instead of boxes."""

    def run(similar: np.ndarray, scores: np.ndarray, most: np.ndarray, *limits: np.ndarray) -> list[np.ndarray]:
        return [suppress(similar, scores, int(most), *(float(v) for v in limits))[0]]

    values = [overlaps, scores, max_output_size, overlap_threshold, score_threshold]
    return on_host(run, [((None,), "int32")], values, "scores")[0]


def length_of(most: Value, padded: bool) -> int | None:
    """The length of the outputs where it does not depend on the boxes."""
    most = known(most, "max_output_size")
    return int(most) if padded and isinstance(most, (np.ndarray, np.generic)) else None


@lowering("NonMaxSuppressionV4", gradient="none", ignored=("T_threshold",))
def non_max_suppression_v4(
    boxes: Value,
    scores: Value,
    max_output_size: Value,
    iou_threshold: Value,
    score_threshold: Value,
    *,
    pad_to_max_output_size: bool = False,
) -> tuple[Value, ...]:
    """NonMaxSuppressionV3 that may pad with zeros, and how many indices are valid."""
    no_sigma = np.float32(0)
    index, _, valid = soft(boxes, scores, max_output_size, iou_threshold, score_threshold, no_sigma, pad_to_max_output_size)
    return index, valid


@lowering("NonMaxSuppressionV5", gradient="none")
def non_max_suppression_v5(
    boxes: Value,
    scores: Value,
    max_output_size: Value,
    iou_threshold: Value,
    score_threshold: Value,
    soft_nms_sigma: Value,
    *,
    pad_to_max_output_size: bool = False,
) -> tuple[Value, ...]:
    """NonMaxSuppressionV4 that may lower scores instead of dropping boxes; the scores too."""
    return soft(boxes, scores, max_output_size, iou_threshold, score_threshold, soft_nms_sigma, pad_to_max_output_size)


def soft(
    boxes: Value, scores: Value, most: Value, similarity: Value, least: Value, sigma: Value, padded: bool
) -> tuple[Value, ...]:
    """Indices, scores and count of the boxes that stay."""

    def run(boxes: np.ndarray, scores: np.ndarray, most: np.ndarray, *limits: np.ndarray) -> list[np.ndarray]:
        index, kept = suppress(overlaps(boxes), scores, int(most), *(float(v) for v in limits))
        count = len(index)
        fill = int(most) - count if padded else 0
        return [np.pad(index, (0, fill)), np.pad(kept, (0, fill)), np.asarray(count, "int32")]

    length = length_of(most, padded)
    outputs: Outputs = [((length,), "int32"), ((length,), "float32"), ((), "int32")]
    return on_host(run, outputs, [boxes, scores, most, similarity, least, sigma], "scores")


@lowering(
    "CombinedNonMaxSuppression",
    gradient="none",
    static=("max_output_size_per_class", "max_total_size"),
)
def combined_non_max_suppression(
    boxes: Value,
    scores: Value,
    max_output_size_per_class: Value,
    max_total_size: Value,
    iou_threshold: Value,
    score_threshold: Value,
    *,
    pad_per_class: bool = False,
    clip_boxes: bool = True,
) -> tuple[Value, ...]:
    """For each image the best boxes of all classes, suppressed class by class: boxes, scores, classes, counts."""
    batch, _, classes = (int(n or 0) if n is not None else None for n in scores.shape)
    each, total = int(max_output_size_per_class), int(max_total_size)
    length = min(total, each * int(classes or 0)) if pad_per_class else total

    def one(boxes: np.ndarray, scores: np.ndarray, similarity: float, least: float) -> list[np.ndarray]:
        found: list[tuple[float, int, np.ndarray]] = []
        for number in range(scores.shape[1]):
            own = boxes[:, number if boxes.shape[1] > 1 else 0]
            index, kept = suppress(overlaps(own), scores[:, number], each, similarity, least)
            found += [(float(s), number, own[i]) for i, s in zip(index, kept, strict=True)]
        found.sort(key=lambda row: -row[0])
        found = found[:length]
        fill = length - len(found)
        chosen = np.array([row[2] for row in found], "float32").reshape(-1, 4)
        return [
            np.pad(np.clip(chosen, 0, 1) if clip_boxes else chosen, ((0, fill), (0, 0))),
            np.pad(np.array([row[0] for row in found], "float32"), (0, fill)),
            np.pad(np.array([row[1] for row in found], "float32"), (0, fill)),
            np.asarray(len(found), "int32"),
        ]

    def run(boxes: np.ndarray, scores: np.ndarray, similarity: np.ndarray, least: np.ndarray) -> list[np.ndarray]:
        images = [one(b, s, float(similarity), float(least)) for b, s in zip(boxes, scores, strict=True)]
        if not images:
            shapes: list[Any] = [(0, length, 4), (0, length), (0, length), (0,)]
            return [np.zeros(s, "float32" if len(s) > 1 else "int32") for s in shapes]
        return [np.stack(parts) for parts in zip(*images, strict=True)]

    outputs: Outputs = [
        ((batch, length, 4), "float32"),
        ((batch, length), "float32"),
        ((batch, length), "float32"),
        ((batch,), "int32"),
    ]
    return on_host(run, outputs, [boxes, scores, iou_threshold, score_threshold], "scores")
