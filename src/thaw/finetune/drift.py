"""How far a module moved from where it started: its weights layer by layer, and what it answers with on the validation data.

Forgetting cannot be seen in the loss of the new task. What can be measured without the publisher's data is how much of the
module is still what it was. Imports keras, the layer, and the examples of this package.
"""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from thaw.finetune.data import Batches
from thaw.layer import KerasLayer
from thaw.trainable.nearness import starting_values
from thaw.trainable.select import survey

MOST_EXAMPLES = 256
"""Of the validation data, so many are run through the module before and after."""


@dataclass(frozen=True)
class Start:
    """Where a module started: weights by path, and features (examples, width)."""

    weights: dict[str, np.ndarray]
    features: np.ndarray

    def save(self, path: Path) -> None:
        """Writes it beside its place and moves it there."""
        partial = path.with_suffix(".partial")
        arrays: dict[str, Any] = {f"w{i}": weight for i, weight in enumerate(self.weights.values())}
        with partial.open("wb") as file:
            np.savez(file, names=json.dumps(list(self.weights)), features=self.features, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Start | None":
        """What `save` wrote; None where that is not there or not whole."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                names = json.loads(str(stored["names"]))
                return cls({name: stored[f"w{i}"] for i, name in enumerate(names)}, stored["features"])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True)
class Drift:
    """How far a module moved.

    Attributes:
        layers: by inner layer, |after - before| / |before| over all of its weights that may train; those that moved only.
        still: how many inner layers did not move.
        features: |after - before| / |before| over the features of the validation examples.
        cosine: mean over the examples of the cosine between features before and after; and the lowest.
        examples: how many there were.
    """

    layers: dict[str, float]
    still: int
    features: float
    cosine: tuple[float, float]
    examples: int


def begin(model: keras.Model, layer: KerasLayer, held: Batches) -> Start:
    """Where the module stands before any training."""
    return Start(starting_values(layer), _features(model, held))


def measure(model: keras.Model, layer: KerasLayer, held: Batches, start: Start) -> Drift:
    """How far it has come since."""
    squares: dict[str, tuple[float, float]] = {}
    after = starting_values(layer)
    for leaf in survey(layer).leaves:
        if leaf.path not in after or leaf.path not in start.weights:
            continue
        before = start.weights[leaf.path].astype("float64")
        moved = after[leaf.path].astype("float64") - before
        name = leaf.path.rpartition("/")[0] or leaf.path
        so_far = squares.get(name, (0.0, 0.0))
        squares[name] = (so_far[0] + float((moved**2).sum()), so_far[1] + float((before**2).sum()))
    moves = {name: _ratio(moved, before) for name, (moved, before) in squares.items()}
    ours = _features(model, held).astype("float64")
    theirs = start.features.astype("float64")
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    cosines = np.where(lengths > 0, (ours * theirs).sum(-1) / np.where(lengths > 0, lengths, 1.0), 1.0)
    return Drift(
        {name: move for name, move in moves.items() if move},
        sum(not move for move in moves.values()),
        _ratio(float(((ours - theirs) ** 2).sum()), float((theirs**2).sum())),
        (float(cosines.mean()), float(cosines.min())) if len(cosines) else (1.0, 1.0),
        len(ours),
    )


def lines(drift: Drift, most: int = 20) -> Iterable[str]:
    """The section of the report, in Markdown."""
    yield from ("## How far the module moved from where it started", "")
    if drift.examples:
        yield (
            f"Its features of {drift.examples} validation examples changed by {drift.features:.1%} of their length; the cosine "
            f"between before and after is {drift.cosine[0]:.4f} on average, {drift.cosine[1]:.4f} at the lowest. "
            "What a module knew lies in these: the farther they move, the more is forgotten. `--keep 0.1` (or more) pulls "
            "the weights back to where they started, `--layer-decay 0.7` trains lower layers more slowly."
        )
        yield ""
    yield from ("| inner layer | change of its weights |", "|---|---|")
    shown = sorted(drift.layers.items(), key=lambda item: -item[1])
    yield from (f"| {name} | {move:.2%} |" for name, move in shown[:most])
    if len(shown) > most:
        yield f"| {len(shown) - most} more | less |"
    if drift.still:
        yield f"| {drift.still} others | none |"
    yield ""


def _ratio(moved: float, before: float) -> float:
    """The length of a move in lengths of what was there; the move itself where that was nothing."""
    return float(np.sqrt(moved / before)) if before else float(np.sqrt(moved))


def _features(model: keras.Model, held: Batches) -> np.ndarray:
    """What the head stands on, for the first examples of `held`, spread evenly over them: (examples, width)."""
    rows = np.unique(np.linspace(0, len(held.examples) - 1, min(MOST_EXAMPLES, len(held.examples))).astype(int))
    part = Batches(held.examples.take(rows), held.make, held.batch_size)
    below: Any = keras.Model(model.input, model.get_layer("head").input)
    found = [keras.ops.convert_to_numpy(below.predict_on_batch(part[i][0])) for i in range(len(part))]
    return np.concatenate(found).astype("float32") if found else np.zeros((0, 1), "float32")
