"""Non-maximum suppression in all its forms: flipped boxes, equal scores, thresholds, padding, classes."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(22)


def boxes(n):
    corner, size = R.random((n, 2)), R.random((n, 2)) * 0.5
    return np.concatenate([corner, corner + size], 1).astype("float32")


def scores(*shape):
    return R.random(shape).astype("float32")


def number(value):
    return np.array(value, "float32")


def count(value):
    return np.array(value, "int32")


BOXES, SCORES = boxes(30), scores(30)
FLIPPED = BOXES[:, [2, 1, 0, 3]]
EQUAL = np.repeat(SCORES[:10], 3)
SIMILAR = (lambda m: ((m + m.T) / 2).astype("float32"))(R.random((20, 20)))
MANY, MANY_SCORES = R.random((2, 12, 3, 4)).astype("float32"), scores(2, 12, 3)
SHARED = np.stack([boxes(12), boxes(12)])[:, :, None] * 1.4

CASES = [
    Case("NonMaxSuppression", "default", (BOXES, SCORES, count(8)), gradient=False),
    Case("NonMaxSuppression", "threshold", (BOXES, SCORES, count(50)), {"iou_threshold": 0.1}, gradient=False),
    Case("NonMaxSuppressionV2", "flipped-boxes", (FLIPPED, SCORES, count(12), number(0.3)), gradient=False),
    Case("NonMaxSuppressionV2", "equal-scores", (BOXES, EQUAL, count(12), number(0.4)), gradient=False),
    Case("NonMaxSuppressionV3", "least-score", (BOXES, SCORES, count(12), number(0.5), number(0.6)), gradient=False),
    Case("NonMaxSuppressionV3", "no-boxes", (BOXES[:0], SCORES[:0], count(5), number(0.5), number(0.1)), gradient=False),
    Case("NonMaxSuppressionV3", "none-above", (BOXES, SCORES, count(5), number(0.5), number(2.0)), gradient=False),
    Case(
        "NonMaxSuppressionV4",
        "padded",
        (BOXES, SCORES, count(25), number(0.2), number(0.3)),
        {"pad_to_max_output_size": True},
        gradient=False,
    ),
    Case("NonMaxSuppressionV4", "unpadded", (BOXES, SCORES, count(25), number(0.2), number(0.3)), gradient=False),
    Case("NonMaxSuppressionV5", "soft", (BOXES, SCORES, count(12), number(1.0), number(0.1), number(0.5)), gradient=False),
    Case("NonMaxSuppressionV5", "hard", (BOXES, SCORES, count(12), number(0.3), number(0.1), number(0.0)), gradient=False),
    Case(
        "NonMaxSuppressionV5",
        "soft-padded",
        (BOXES, SCORES, count(40), number(0.6), number(0.3), number(0.3)),
        {"pad_to_max_output_size": True},
        gradient=False,
    ),
    Case("NonMaxSuppressionWithOverlaps", "given", (SIMILAR, scores(20), count(7), number(0.6), number(0.2)), gradient=False),
    Case(
        "CombinedNonMaxSuppression",
        "boxes-by-class",
        (MANY, MANY_SCORES, count(4), count(9), number(0.3), number(0.2)),
        gradient=False,
    ),
    Case(
        "CombinedNonMaxSuppression",
        "shared-boxes",
        (SHARED, MANY_SCORES, count(5), count(20), number(0.4), number(0.5)),
        {"clip_boxes": False},
        gradient=False,
    ),
    Case(
        "CombinedNonMaxSuppression",
        "padded-by-class-and-clipped",
        (SHARED, MANY_SCORES, count(2), count(20), number(0.4), number(0.5)),
        {"pad_per_class": True},
        gradient=False,
    ),
]
