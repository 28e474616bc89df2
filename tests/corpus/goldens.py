"""TensorFlow's recorded answers for a model, and how far ours are from them.

The layout of `golden.npz` and `card.json` is that of the README beside the models (keys `<variant>|<kind>|<name>`). Knows numpy
and Keras' conversion to it; nothing of thaw.
"""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

TOLERANCE, DEEP = 1e-5, 1e-4
"""Largest difference over largest magnitude; the second for deep nets, whose rounding adds up in float32."""

Arrays = dict[str, np.ndarray]


@dataclass
class Golden:
    """What TensorFlow answered for one variant: arrays by kind (`in`, `out`, `outsum`, `cot`, `grad` ...) and name."""

    variant: str
    stochastic: bool = False
    parts: dict[str, Arrays] = field(default_factory=dict)

    def __getitem__(self, kind: str) -> Arrays:
        return self.parts.get(kind, {})

    @property
    def trains(self) -> bool:
        """Whether it was recorded by calling with training=True, or from the metagraph for training."""
        tags, _, name = self.variant.rpartition("/")
        return name.endswith("[training=True]") or "train" in tags.split("+")


def goldens_of(folder: Path) -> list[Golden]:
    """The goldens of a model, one a variant; empty where there are none."""
    if not (folder / "golden.npz").exists():
        return []
    card = json.loads((folder / "card.json").read_text()) if (folder / "card.json").exists() else {}
    found: dict[str, Golden] = {}
    with np.load(folder / "golden.npz", allow_pickle=False) as arrays:
        for key in arrays.files:
            variant, kind, name = key.split("|", 2)
            stochastic = bool(card.get("variants", {}).get(variant, {}).get("stochastic"))
            golden = found.setdefault(variant, Golden(variant, stochastic))
            if variant.endswith("/frozen"):
                name = name.removesuffix(":0")
            golden.parts.setdefault(kind, {})[name] = arrays[key]
    return list(found.values())


def as_numpy(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(value))


def is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def summed(array: np.ndarray) -> np.ndarray:
    """The two numbers that stand for a large array in the goldens."""
    flat = np.asarray(array, "float64").ravel()
    return np.array([np.linalg.norm(flat), flat @ np.sin(np.arange(1, flat.size + 1))])


def off(ours: np.ndarray, theirs: np.ndarray, largest: float = 0.0) -> float:
    """Largest difference over largest magnitude; infinite where shapes or finiteness differ.

    A tensor whose magnitudes are all below a thousandth of `largest` is noise (a shift before a batch normalization has the
    gradient zero): it is measured against a fiftieth of `largest`, of which `DEEP` is 17 times the precision of float32.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    if theirs.dtype.kind in "OSU" or ours.dtype.kind in "OSU":
        return 0.0 if _bytes(ours) == _bytes(theirs) else float("inf")
    a, b = np.asarray(ours, "complex128"), np.asarray(theirs, "complex128")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not np.all(same | (np.isfinite(a) & np.isfinite(b))):
        return float("inf")
    if same.all():
        return 0.0
    scale = max(np.abs(b[np.isfinite(b)]).max(initial=0.0), 1e-6)
    if scale < largest / 1000:
        scale = largest / 50
    return float(np.abs(np.where(same, 0, a - b)).max() / scale)


def _bytes(array: np.ndarray) -> list[bytes]:
    return [v.encode() if isinstance(v, str) else bytes(v) for v in np.asarray(array, object).ravel()]


def cotangents(outputs: dict[str, Any], golden: Golden | None) -> list[np.ndarray | None]:
    """The recorded cotangent of each float output (drawn as the README says where it was too large), None for the others."""
    found: list[np.ndarray | None] = []
    by_position = golden is not None and "__call__" in golden.variant
    for name, value in outputs.items():
        array = as_numpy(value)
        if not is_float(array):
            found.append(None)
        elif golden is not None and name in golden["cot"]:
            found.append(golden["cot"][name])
        else:
            seed = int(name) if name.isdigit() and by_position else zlib.crc32(name.encode())
            found.append(np.random.default_rng(seed).standard_normal(array.shape).astype(array.dtype))
    return found


def compare_outputs(outputs: dict[str, Any], golden: Golden) -> tuple[float, str]:
    """(worst difference, what differs) over all outputs."""
    worst, where = 0.0, ""
    for name in {**golden["out"], **golden["outsum"]}:
        if name not in outputs:
            return float("inf"), f"there is no output {name!r}, there are {sorted(outputs)}"
        ours, theirs = as_numpy(outputs[name]), golden["out"].get(name)
        if theirs is None:
            difference, what = off(summed(ours), golden["outsum"][name]), f"of shape {ours.shape}, by its sums"
        else:
            difference, what = off(ours, theirs), f"of shape {ours.shape}, expected {theirs.shape}"
        if difference > worst:
            worst, where = difference, f"output {name!r}, {what}: off by {difference:.1e}"
    return worst, where


def compare_drawn(draws: list[dict[str, Any]], golden: Golden) -> tuple[float, str]:
    """(0 or infinity, what was found) where a graph draws random numbers: the recorded answer is as any of our draws.

    It is as far from our draws' mean as they are (root mean square over all elements). The bounds are wide, since an output's
    elements hang together: the draw of a single latent number may move them all.
    """
    ratios = [1.0]
    for name, theirs in golden["out"].items():
        drawn = [as_numpy(draw[name]) for draw in draws]
        if len({d.shape for d in drawn}) > 1 and all(d.ndim == theirs.ndim for d in drawn):
            continue  # lengths are drawn too, by a loop that ends when it has drawn an end
        ours = np.stack(drawn)
        if ours.shape[1:] != theirs.shape:
            return float("inf"), f"output {name!r} has shape {ours.shape[1:]}, expected {theirs.shape}"
        if any(off(as_numpy(draw), theirs) <= DEEP for draw in drawn):
            continue  # dropout that seldom drops anything
        if is_float(theirs) and theirs.size:
            ours, mean = ours.astype("float64"), ours.mean(0, "float64")
            spread = np.sqrt(np.sum((ours - mean) ** 2) / (len(ours) - 1) / theirs.size)
            away = np.sqrt(np.mean((theirs.astype("float64") - mean) ** 2))
            if spread < 1e-6 * np.abs(theirs).max(initial=1e-6):
                ratios.append(1.0 if off(ours[0], theirs) < DEEP else float("inf"))
            else:
                ratios.append(float(away / spread))
    worst = max(ratios, key=lambda r: max(r, 1 / max(r, 1e-9)))
    return (0.0 if 0.2 < worst < 4 else float("inf")), f"drawn: TensorFlow's lies {worst:.1f} of our standard deviations away"
