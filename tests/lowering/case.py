"""One row of the table of lowering tests: an op on given inputs and attributes; TensorFlow's answer lies in the goldens."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A single-node graph.

    Attributes:
        op: TensorFlow's op type.
        id: what is special, as part of a sentence: "same-stride2".
        inputs: arrays in the op's flattened input order (strings: object arrays of bytes).
        attrs: attributes other than those implied by the inputs; dtypes by name; shapes as tuples.
        gradient: whether input gradients are compared too (cotangents are standard normal, seeded by position).
        rtol: relative to the largest magnitude of each tensor.
        outputs: how many outputs are compared, where TensorFlow leaves the rest to chance; None: all.
        backends: where it holds; a backend left out needs its reason in `why`.
    """

    op: str
    id: str
    inputs: tuple[np.ndarray, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    gradient: bool = True
    rtol: float = 1e-5
    outputs: int | None = None
    backends: tuple[str, ...] = ("jax", "torch", "tensorflow")
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.op}-{self.id}"
