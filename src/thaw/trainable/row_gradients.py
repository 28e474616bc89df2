"""Gradients of large tables, embeddings, that are zero but for the rows that a batch asked for; and updates by those rows.

A gradient of a table's own shape costs time and memory for every row there is, at each step. Where an update changes nothing
in rows of zero gradient (plain SGD), each backend has its own way around it: TensorFlow's IndexedSlices, PyTorch's sparse
tensors, and on JAX a second view of the traced step, in which the rows are differentiated in place of their table. Where
anything else is asked for, steps stay as Keras makes them. Backends are imported inside functions. May import hooks only.
"""
# ruff: noqa: TID251

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras

from thaw.trainable import hooks, jax_hooks

SMALLEST = 4096
"""Tables of fewer rows are cheaper to update whole than to think about."""

ASKED = "thaw_row_gradient"
"""The attribute by which PyTorch's own parameter tells the op table to give it a sparse gradient (see lowering/kernels.py)."""


@dataclass(frozen=True, slots=True)
class RowGradient:
    """A gradient on JAX, in the form in which XLA scatters: the same position may be there several times.

    Attributes:
        positions: of the rows in their table, as a gather takes them (the last axis has length 1).
        rows: their gradients.
        how: the arguments of the gather that a scatter shares.
    """

    positions: Any
    rows: Any
    how: "tuple[Any, Any]"

    def __truediv__(self, scale: Any) -> "RowGradient":
        return RowGradient(self.positions, self.rows / scale, self.how)


@dataclass(slots=True)
class RowGradients:
    """The gradient of one table that was asked for rows several times."""

    parts: list[RowGradient] = field(default_factory=list)

    def __truediv__(self, scale: Any) -> "RowGradients":
        return RowGradients([part / scale for part in self.parts])


@functools.cache
def _plain_kind() -> type[Any]:
    return type(keras.optimizers.SGD())  # Keras puts a class of the backend in its place


def leaves_zero_rows(optimizer: Any) -> bool:
    """Whether an update changes nothing in rows of zero gradient, and each other row by its own gradient alone."""
    if type(optimizer) is not _plain_kind():
        return False
    whole = ("momentum", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps")
    return not any(getattr(optimizer, name) for name in whole)


def is_table(variable: keras.Variable) -> bool:
    """Whether a variable may be an embedding that is worth it."""
    shape = variable.shape
    return (
        len(shape) == 2
        and shape[0] >= SMALLEST
        and variable.constraint is None
        and not getattr(variable, "overwrite_with_gradient", False)
    )


def tables(model: keras.Model) -> list[int]:
    """Positions among the trainable variables of `model` of those that may get row gradients; none where they cannot."""
    optimizer = getattr(model, "optimizer", None)
    if not leaves_zero_rows(optimizer) or not hooks.has_hooked_update(optimizer):
        return []
    if keras.distribution.distribution() is not None:
        return []
    return [i for i, variable in enumerate(model.trainable_variables) if is_table(variable)]


def split(gradients: Sequence[Any], variables: Sequence[Any]) -> tuple[list[tuple[Any, Any]], list[Any], list[Any]]:
    """(row gradient, variable) pairs; and the gradients and variables that are left."""
    pairs = list(zip(gradients, variables, strict=True))
    by_rows = [(g, v) for g, v in pairs if _is_rows(g)]
    rest = [(g, v) for g, v in pairs if not _is_rows(g)]
    return by_rows, [g for g, _ in rest], [v for _, v in rest]


def _is_rows(gradient: Any) -> bool:
    return isinstance(gradient, RowGradients) or (hooks.backend() == "torch" and gradient.is_sparse)


def subtract(variable: keras.Variable, gradient: Any, rate: Any) -> None:
    """Take `rate` times a row gradient away from a variable."""
    if hooks.backend() == "torch":
        import torch

        with torch.no_grad():
            variable.value.add_(gradient, alpha=-float(rate))
        return
    import jax

    value = variable.value
    for part in gradient.parts:
        numbers, mode = part.how
        where = jax.lax.ScatterDimensionNumbers(
            update_window_dims=numbers.offset_dims,
            inserted_window_dims=numbers.collapsed_slice_dims,
            scatter_dims_to_operand_dims=numbers.start_index_map,
        )
        change = part.rows.astype(value.dtype) * -jax.numpy.asarray(rate, value.dtype)
        value = jax.lax.scatter_add(value, part.positions, change, where, mode=mode)
    variable.assign(value)


# PyTorch


@contextmanager
def asked_for(model: keras.Model) -> Iterator[None]:
    """Within it PyTorch gives tables of `model` sparse gradients where they are asked for rows alone."""
    if hooks.backend() != "torch" or getattr(model, "jit_compile", False):
        yield
        return
    variables = model.trainable_variables
    parameters = [variables[i].value for i in tables(model)]
    for parameter in parameters:
        setattr(parameter, ASKED, True)
    try:
        yield
    finally:
        for parameter in parameters:
            delattr(parameter, ASKED)


# TensorFlow


def mend(optimizer: keras.Optimizer) -> None:
    """On TensorFlow, hand IndexedSlices only to an optimizer that takes them for what they are.

    Keras squares, clips and scales them entry by entry, which is wrong where a row is there twice, or fails.
    """
    if hooks.backend() != "tensorflow":
        return
    import tensorflow as tf

    reference = weakref.ref(optimizer)

    def prepare(gradients: Sequence[Any]) -> Sequence[Any]:
        itself = reference()
        if itself is not None and leaves_zero_rows(itself) and itself.loss_scale_factor is None:
            return gradients
        return [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]

    hooks.hook_gradients(optimizer, prepare)


# JAX


class _Table:
    """Stands for a table while a traced step is run again: the table, perhaps in another dtype."""

    __slots__ = ("dtype", "number", "value")

    def __init__(self, number: int, value: Any, dtype: Any) -> None:
        self.number, self.value, self.dtype = number, value, dtype


@dataclass(slots=True)
class _Reading:
    """What one run of a traced step finds out about tables.

    Attributes:
        rows: what is added to each gathered block of rows; None where blocks are only looked for.
        found: table, shape and dtype of each block.
        positions: where the blocks came from, and the arguments of their gathers.
        spoiled: tables that are used otherwise.
    """

    rows: list[Any] | None = None
    found: list[tuple[int, tuple[int, ...], Any]] = field(default_factory=list)
    positions: list[Any] = field(default_factory=list)
    how: list[Any] = field(default_factory=list)
    spoiled: set[int] = field(default_factory=set)

    def run(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """The outputs of a jaxpr, some of whose arguments are tables."""
        values: dict[Any, Any] = {}
        values.update(zip(jaxpr.constvars, constants, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for equation in jaxpr.eqns:
            given = [v.val if hasattr(v, "val") else values[v] for v in equation.invars]
            made = self._step(equation, given)
            values.update(zip(equation.outvars, made, strict=True))
        return [v.val if hasattr(v, "val") else values[v] for v in jaxpr.outvars]

    def _step(self, equation: Any, given: list[Any]) -> list[Any]:
        name, parameters = equation.primitive.name, equation.params
        if any(isinstance(v, _Table) for v in given):
            first = given[0]
            if name in {"jit", "pjit"}:
                inner = parameters["jaxpr"]
                return self.run(inner.jaxpr, inner.consts, given)
            if name == "convert_element_type" and "float" in str(parameters["new_dtype"]):
                return [_Table(first.number, first.value, parameters["new_dtype"])]
            if name == "gather" and isinstance(first, _Table) and _takes_rows(parameters, first.value.shape, given[1].ndim):
                return [self._rows(equation, first, given[1])]
            given = [self._used(v) if isinstance(v, _Table) else v for v in given]
        bound = equation.primitive.get_bind_params(parameters)
        functions, parameters = bound if isinstance(bound, tuple) else ((), bound)  # a pair before JAX 0.10
        with equation.ctx.manager:
            made = equation.primitive.bind(*functions, *given, **parameters)
        return list(made) if equation.primitive.multiple_results else [made]

    def _rows(self, equation: Any, table: _Table, positions: Any) -> Any:
        rows = equation.primitive.bind(table.value, positions, **equation.params).astype(table.dtype)
        if self.rows is None:
            self.found.append((table.number, rows.shape, rows.dtype))
            return rows
        at = len(self.positions)
        self.positions.append(positions)
        self.how.append((equation.params["dimension_numbers"], equation.params["mode"]))
        return rows + self.rows[at]

    def _used(self, table: _Table) -> Any:
        self.spoiled.add(table.number)
        return table.value.astype(table.dtype)


def _takes_rows(parameters: dict[str, Any], shape: tuple[int, ...], axes: int) -> bool:
    """Whether a gather takes whole rows by one number each, and gives them in that order."""
    numbers = parameters["dimension_numbers"]
    return (
        tuple(numbers.collapsed_slice_dims) == tuple(numbers.start_index_map) == (0,)
        and not numbers.operand_batching_dims
        and tuple(parameters["slice_sizes"]) == (1, *shape[1:])
        and tuple(numbers.offset_dims) == tuple(range(axes - 1, axes - 2 + len(shape)))
    )


def value_and_gradients(function: Callable[[list[Any]], tuple[Any, Any]], variables: list[Any], wanted: Sequence[int]) -> Any:
    """`jax.value_and_grad(function, has_aux=True)(variables)`, with `RowGradients` for those of `wanted` that allow it.

    None where none of them does.
    """
    import jax

    traced, shape = jax.make_jaxpr(function, return_shape=True)(variables)
    outputs = jax.tree.structure(shape)
    looking = _Reading()

    def look(*values: Any) -> list[Any]:
        given = [_Table(i, v, v.dtype) if i in wanted else v for i, v in enumerate(values)]
        return [looking._used(v) if isinstance(v, _Table) else v for v in looking.run(traced.jaxpr, traced.consts, given)]

    jax.eval_shape(look, *variables)
    blocks = [block for block in looking.found if block[0] not in looking.spoiled]
    chosen = {number for number, _, _ in blocks}
    if not chosen:
        return None

    def by_rows(others: list[Any], rows: list[Any]) -> Any:
        reading, rest = _Reading(rows), iter(others)
        given = [_Table(i, v, v.dtype) if i in chosen else next(rest) for i, v in enumerate(variables)]
        loss, aux = jax.tree.unflatten(outputs, reading.run(traced.jaxpr, traced.consts, given))
        how.extend(reading.how)
        return loss, (aux, reading.positions)

    how: list[Any] = []
    zeros = [jax.numpy.zeros(shape, dtype) for _, shape, dtype in blocks]
    others = [v for i, v in enumerate(variables) if i not in chosen]
    differentiate = jax.value_and_grad(by_rows, argnums=(0, 1), has_aux=True)
    (loss, (aux, positions)), (dense_gradients, row_gradients) = differentiate(others, zeros)
    whole = iter(dense_gradients)
    gradients: list[Any] = [RowGradients() if i in chosen else next(whole) for i in range(len(variables))]
    for (number, _, _), at, rows, numbers in zip(blocks, positions, row_gradients, how, strict=True):
        gradients[number].parts.append(RowGradient(at, rows, numbers))
    return (loss, aux), gradients


def is_traced(values: Sequence[Any]) -> bool:
    """Whether JAX is tracing a step with these values, rather than running it."""
    import jax

    return any(isinstance(value, jax.core.Tracer) for value in values)


def train_step(model: keras.Model, step: Callable[..., Any], state: Any, data: Any) -> Any:
    """In the place of Keras' train_step on JAX: with row gradients where tables allow it, else `step` itself."""
    numbers = tables(model) if is_traced(state[0]) else []
    if numbers:
        made = jax_hooks.step_by(model, functools.partial(value_and_gradients, wanted=numbers), state, data)
        if made is not None:
            return made
    return step(state, data)
