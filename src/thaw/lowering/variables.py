"""Variables: handles, reads, assignments, gathers of rows, scatters into rows.

A handle is a small host object that travels as a value; reads and assignments go through the context, which knows where
the value is now. A TF1 reference variable is a handle too: the runner reads it wherever an op wants its value.
"""

import numpy

from thaw.lowering.elementwise import apply
from thaw.lowering.kernels import rows_of_variable
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.slicing import batched_take, gather_nd, scatter_into, strided_slice_update, take
from thaw.lowering.values import Handle, NotKnownError, Value, is_host, known, static_shape


@lowering(
    "VarHandleOp",
    context=True,
    stateful=True,
    gradient="none",
    ignored=("container", "dtype", "shape", "allowed_devices", "debug_name"),
)
def variable_handle(context: Context, *, shared_name: str = "") -> Value:
    """The handle of a variable."""
    return Handle(shared_name or context.node.name)


@lowering("VariableV2", "Variable", context=True, stateful=True, ignored=("container", "dtype", "shape"))
def reference_variable(context: Context, *, shared_name: str = "") -> Value:
    """A TF1 variable: its value, or what is assigned to, as the op that takes it wants."""
    return Handle(shared_name or context.node.name, reference=True)


@lowering("ReadVariableOp", context=True, stateful=True, ignored=("dtype",))
def read(context: Context, resource: Handle) -> Value:
    """The value now."""
    return context.read(resource.key)


@lowering("VariableShape", context=True, stateful=True, gradient="none")
def variable_shape(context: Context, input: Handle, *, out_type: str = "int32") -> Value:
    """The shape."""
    return numpy.array(static_shape(context.read(input.key)), dtype=out_type)


@lowering("VarIsInitializedOp", context=True, stateful=True, gradient="none")
def is_initialized(context: Context, resource: Handle) -> Value:
    """True: the artifact's values are there from the start."""
    return numpy.array(True)


@lowering("IsVariableInitialized", context=True, stateful=True, ignored=("dtype",), gradient="none")
def is_reference_initialized(context: Context, ref: Handle) -> Value:
    """True: the artifact's values are there from the start."""
    return numpy.array(True)


@lowering("DisableCopyOnRead", context=True, stateful=True, gradient="none")
def disable_copy_on_read(context: Context, resource: Handle) -> Value:
    """Nothing."""
    return ()


@lowering("DestroyResourceOp", context=True, stateful=True, ignored=("ignore_lookup_error",), gradient="none")
def destroy(context: Context, resource: Handle) -> Value:
    """Nothing."""
    return ()


def _value(context: Context, value: Value) -> Value:
    """The value of what is assigned: it may be a TF1 variable itself."""
    return context.read(value.key) if isinstance(value, Handle) else value


@lowering("AssignVariableOp", context=True, stateful=True, ignored=("dtype", "validate_shape"), gradient="none")
def assign(context: Context, resource: Handle, value: Value) -> Value:
    """Gives the variable a new value."""
    context.assign(resource.key, _value(context, value))
    return ()


@lowering("AssignAddVariableOp", context=True, stateful=True, ignored=("dtype",), gradient="none")
def assign_add(context: Context, resource: Handle, value: Value) -> Value:
    """Adds to the variable."""
    context.assign(resource.key, apply(lambda np, x, y: x + y, context.read(resource.key), _value(context, value)))
    return ()


@lowering("AssignSubVariableOp", context=True, stateful=True, ignored=("dtype",), gradient="none")
def assign_subtract(context: Context, resource: Handle, value: Value) -> Value:
    """Takes away from the variable."""
    context.assign(resource.key, apply(lambda np, x, y: x - y, context.read(resource.key), _value(context, value)))
    return ()


@lowering("Assign", context=True, stateful=True, ignored=("validate_shape", "use_locking"), gradient="none")
def assign_reference(context: Context, ref: Handle, value: Value) -> Value:
    """Gives a TF1 variable a new value."""
    context.assign(ref.key, _value(context, value))
    return ref


@lowering("AssignAdd", context=True, stateful=True, ignored=("use_locking",), gradient="none")
def assign_add_reference(context: Context, ref: Handle, value: Value) -> Value:
    """Adds to a TF1 variable."""
    assign_add(context, ref, value)
    return ref


@lowering("AssignSub", context=True, stateful=True, ignored=("use_locking",), gradient="none")
def assign_subtract_reference(context: Context, ref: Handle, value: Value) -> Value:
    """Takes away from a TF1 variable."""
    assign_subtract(context, ref, value)
    return ref


@lowering("ResourceGather", context=True, stateful=True, ignored=("dtype", "validate_indices"))
def gather_rows(context: Context, resource: Handle, indices: Value, *, batch_dims: int = 0) -> Value:
    """Rows of the variable."""
    written = context.writes is not None and resource.key in context.writes
    if not batch_dims and not written and resource.key not in context.resources.texts:
        rows = rows_of_variable(context.variable(resource.key), indices)
        if rows is not None:
            return rows
    table = context.read(resource.key)
    return batched_take(table, indices, batch_dims, batch_dims) if batch_dims else take(table, indices, 0)


@lowering("ResourceGatherNd", context=True, stateful=True, ignored=("dtype",))
def gather_blocks(context: Context, resource: Handle, indices: Value) -> Value:
    """Elements or blocks of the variable."""
    result: Value = gather_nd(context.read(resource.key), indices)
    return result


def _scatter(context: Context, handle: Handle, indices: Value, updates: Value, how: str | None, blocks: bool) -> None:
    """Writes rows (or, with `blocks`, what positions name) of a variable."""
    start = context.read(handle.key)
    if not blocks:
        indices = apply(lambda np, i: np.expand_dims(i, -1), indices)
        rows = (*static_shape(indices)[:-1], *static_shape(start)[1:])
        if static_shape(updates) != rows:  # one value for all rows
            updates = apply(lambda np, u: np.broadcast_to(u, rows), updates)
    context.assign(handle.key, scatter_into(start, indices, updates, how))


def _negated(value: Value) -> Value:
    return -value


def _scatter_ops(how: str, name: str, line: str) -> None:
    negate, reduction = how == "sub", {"update": None, "sub": "add"}.get(how, how)

    def resource_rows(context: Context, resource: Handle, indices: Value, updates: Value) -> Value:
        _scatter(context, resource, indices, _negated(updates) if negate else updates, reduction, blocks=False)
        return ()

    def resource_blocks(context: Context, ref: Handle, indices: Value, updates: Value) -> Value:
        _scatter(context, ref, indices, _negated(updates) if negate else updates, reduction, blocks=True)
        return ()

    def reference_rows(context: Context, ref: Handle, indices: Value, updates: Value) -> Value:
        _scatter(context, ref, indices, _negated(updates) if negate else updates, reduction, blocks=False)
        return ref

    def reference_blocks(context: Context, ref: Handle, indices: Value, updates: Value) -> Value:
        _scatter(context, ref, indices, _negated(updates) if negate else updates, reduction, blocks=True)
        return ref

    for function, op, ignored in (
        (reference_blocks, f"ScatterNd{name}", ("use_locking", "bad_indices_policy")),
        (resource_rows, f"ResourceScatter{name}", ("dtype",)),
        (resource_blocks, f"ResourceScatterNd{name}", ("use_locking", "bad_indices_policy")),
        (reference_rows, f"Scatter{name}", ("use_locking",)),
    ):
        function.__doc__ = line
        lowering(op, context=True, stateful=True, ignored=ignored, gradient="none")(function)


def _factor_ops(name: str, line: str, divide: bool) -> None:
    def rows(context: Context, handle: Handle, indices: Value, updates: Value) -> None:
        own = context.read(handle.key)
        ones = apply(lambda np, v: np.ones_like(v), own)
        at = apply(lambda np, i: np.expand_dims(i, -1), indices)
        shape = (*static_shape(indices), *static_shape(own)[1:])
        wide = updates if static_shape(updates) == shape else apply(lambda np, u: np.broadcast_to(u, shape), updates)
        factor = scatter_into(ones, at, wide, "mul")
        context.assign(handle.key, apply(lambda np, v, f: v / f if divide else v * f, own, factor))

    def resource_rows(context: Context, resource: Handle, indices: Value, updates: Value) -> Value:
        rows(context, resource, indices, updates)
        return ()

    def reference_rows(context: Context, ref: Handle, indices: Value, updates: Value) -> Value:
        rows(context, ref, indices, updates)
        return ref

    resource_rows.__doc__ = reference_rows.__doc__ = line
    lowering(f"ResourceScatter{name}", context=True, stateful=True, ignored=("dtype",), gradient="none")(resource_rows)
    lowering(f"Scatter{name}", context=True, stateful=True, ignored=("use_locking",), gradient="none")(reference_rows)


_factor_ops("Mul", "Multiplies rows.", divide=False)
_factor_ops("Div", "Divides rows.", divide=True)

_scatter_ops("update", "Update", "Puts rows in place of others.")
_scatter_ops("add", "Add", "Adds to rows.")
_scatter_ops("sub", "Sub", "Takes away from rows.")
_scatter_ops("max", "Max", "Keeps the greater.")
_scatter_ops("min", "Min", "Keeps the smaller.")


def _slice_assignment(op: str, line: str, answers: bool) -> None:
    def assign_slice(
        context: Context,
        ref: Handle,
        begin: Value,
        end: Value,
        strides: Value,
        value: Value,
        *,
        begin_mask: int = 0,
        end_mask: int = 0,
        ellipsis_mask: int = 0,
        new_axis_mask: int = 0,
        shrink_axis_mask: int = 0,
    ) -> Value:
        masks = {
            "begin_mask": begin_mask,
            "end_mask": end_mask,
            "ellipsis_mask": ellipsis_mask,
            "new_axis_mask": new_axis_mask,
            "shrink_axis_mask": shrink_axis_mask,
        }
        value = _value(context, value)
        context.assign(ref.key, strided_slice_update(context.read(ref.key), begin, end, strides, value, **masks))
        return ref if answers else ()

    assign_slice.__doc__ = line
    lowering(op, context=True, stateful=True, static=("begin", "end", "strides"), gradient="none")(assign_slice)


_slice_assignment("ResourceStridedSliceAssign", "Puts `value` in place of a slice.", answers=False)
_slice_assignment("StridedSliceAssign", "Puts `value` in place of a slice of a TF1 variable.", answers=True)


@lowering("RefSelect", context=True, stateful=True, static=("index",), gradient="none")
def select_reference(context: Context, index: Value, *inputs: Handle) -> Value:
    """The TF1 variable of that number."""
    return inputs[int(numpy.asarray(index).item())]


def _counted(context: Context, handle: Handle, limit: int) -> Value:
    """The value of a variable before it grows by one.

    Raises:
        ValueError: it has reached its limit, and this is no compiled step, where nobody can see that.
    """
    value = context.read(handle.key)
    try:
        now = known(value, "ref")
    except NotKnownError:
        now = value
    if is_host(now) and int(now) >= limit:
        raise ValueError(f"Reached limit of {limit}")
    before = apply(lambda np, v: v + 0, value)  # TensorFlow's read of a variable may change with it
    context.assign(handle.key, apply(lambda np, v: v + 1, value))
    return before


@lowering("CountUpTo", context=True, stateful=True, ignored=("T",), gradient="none")
def count_up(context: Context, ref: Handle, *, limit: int) -> Value:
    """The value of a TF1 variable before it grows by one."""
    return _counted(context, ref, limit)


@lowering("ResourceCountUpTo", context=True, stateful=True, ignored=("T",), gradient="none")
def count_up_resource(context: Context, resource: Handle, *, limit: int) -> Value:
    """The value before it grows by one."""
    return _counted(context, resource, limit)
