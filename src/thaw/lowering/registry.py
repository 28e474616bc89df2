"""The registry of lowerings: one small function an op, whose Python signature is the op's schema.

Inputs are positional parameters (a list input, TensorFlow's `N * T`, is `*values`, or several as `context` sees them),
attributes are keyword-only with TensorFlow's defaults: a SavedModel strips attributes at their default, so these defaults
are model content. tests/lowering/test_op_defs.py holds every row against TensorFlow's own OpDefs.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from thaw.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

IMPLIED = frozenset({
    "T", "N", "Tidx", "Tindices", "Tparams", "Tshape", "Tdim", "Tdims", "Tlen", "Tperm", "Tpaddings", "Tmultiples", "Taxis",
    "Tshift", "Tsegmentids", "Tnumsegments", "Tin", "Tout", "Targuments", "Tcond", "Index", "TI", "T1", "T2", "Tinput",
    "SrcT", "Tsplits", "Tlabels", "Tk", "Tbegin", "element_dtype_unused",
})  # fmt: skip
"""Attributes that TensorFlow infers from an input (`type_attr`, `number_attr`): a lowering may leave them out."""


DEVICE_FAMILIES = frozenset(
    f"thaw.lowering.{family}"
    for family in ("activation", "conv", "loss", "normalization", "pool", "recurrent", "resize", "sample", "color")
)
"""Families of float work, written for tensors alone: their inputs go to the device even where all of them are known."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """A row of the table.

    Attributes:
        op: TensorFlow's op type.
        function: computes the outputs: one value, or a tuple of values for an op with several outputs or a list output.
        static: names of inputs that must be numpy when the function is called.
        host: whether all inputs must be numpy and the outputs are (strings, tables, decoding).
        context: whether the first parameter is the running `thaw.lowering.run.Context`.
        stateful: whether the op must never be folded or deduplicated (random, variables, tables).
        ignored: attributes that need no handling, on purpose.
        inputs: names of the input parameters, in order.
        attributes: names of the attributes that it handles.
        variadic: whether it takes `*values`.
        gradient: "yes"; "none" where TensorFlow has none either (integer, comparison, lookup ...).
    """

    op: str
    function: Callable[..., Any]
    static: frozenset[str]
    host: bool
    context: bool
    stateful: bool
    ignored: frozenset[str]
    inputs: tuple[str, ...]
    attributes: frozenset[str]
    variadic: bool
    gradient: str

    @property
    def on_device(self) -> bool:
        """Whether it computes on tensors only."""
        return self.function.__module__ in DEVICE_FAMILIES


# Read first when a graph runs: importing all families takes longer than all the rest of thaw.
LOWERINGS: Registry[Lowering] = Registry("lowering", fill=lambda: import_module("thaw.lowering.table"))


def lowering(
    *ops: str,
    static: tuple[str, ...] = (),
    host: bool = False,
    context: bool = False,
    stateful: bool = False,
    ignored: tuple[str, ...] = (),
    gradient: str = "yes",
) -> Callable[[F], F]:
    """Registers the decorated function as the lowering of `ops`; see `Lowering` for the arguments."""

    def register(function: F) -> F:
        parameters = list(inspect.signature(function).parameters.values())[1 if context else 0 :]
        positional = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        for op in ops:
            LOWERINGS.add(
                op,
                Lowering(
                    op=op,
                    function=function,
                    static=frozenset(static),
                    host=host,
                    context=context,
                    stateful=stateful,
                    ignored=frozenset(ignored),
                    inputs=positional,
                    attributes=frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY),
                    variadic=any(p.kind is p.VAR_POSITIONAL for p in parameters),
                    gradient=gradient,
                ),
            )
        return function

    return register


def own(
    function: Callable[..., Any], inputs: tuple[str, ...], attributes: tuple[str, ...], *, variadic: bool = False
) -> Lowering:
    """The lowering of an op of ours, "thaw." and the function's name, that a rewritten graph has and no artifact."""
    return Lowering(
        op=f"thaw.{function.__name__}",
        function=function,
        static=frozenset(),
        host=False,
        context=False,
        stateful=False,
        ignored=frozenset(),
        inputs=inputs,
        attributes=frozenset(attributes),
        variadic=variadic,
        gradient="yes",
    )
