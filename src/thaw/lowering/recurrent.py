"""Recurrent nets that TensorFlow fused into one op: block LSTM and GRU cells, and cuDNN's stacks with their packed weights.

Written as scans over time whose products with the inputs are taken beforehand, all at once. Loops that lie in a graph as such
are the business of `loops`. Imports the registry and the values.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering.matmul import product
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of, on_device, static_shape

Gates = tuple[Value, Value, Value, Value, Value, Value, Value]
"""Input gate, cell state, forget gate, output gate, cell input, cell output, output: each (batch, units)."""


def lstm_step(
    gates: Value,
    cell: Value,
    *,
    order: str,
    forget_bias: float,
    cell_clip: float,
    peepholes: tuple[Value, Value, Value] | None,
) -> Gates:
    """One step of a block LSTM from the sums of its gates (batch, 4 * units), which stand in `order` ("icfo", "ifco")."""
    parts = dict(zip(order, ops.split(gates, 4, axis=-1), strict=True))
    reset = parts["f"] + forget_bias
    entry = parts["i"]
    if peepholes is not None:
        entry, reset = entry + cell * peepholes[0], reset + cell * peepholes[1]
    entry, reset, new = ops.sigmoid(entry), ops.sigmoid(reset), ops.tanh(parts["c"])
    cell = new * entry + cell * reset
    if cell_clip > 0:
        cell = ops.clip(cell, -cell_clip, cell_clip)
    out = ops.sigmoid(parts["o"] if peepholes is None else parts["o"] + cell * peepholes[2])
    shown = ops.tanh(cell)
    return entry, cell, reset, out, new, shown, out * shown


@lowering("LSTMBlockCell", gradient="none")
def lstm_block_cell(
    x: Value,
    cs_prev: Value,
    h_prev: Value,
    w: Value,
    wci: Value,
    wcf: Value,
    wco: Value,
    b: Value,
    *,
    forget_bias: float = 1.0,
    cell_clip: float = 3.0,
    use_peephole: bool = False,
) -> tuple[Value, ...]:
    """One step of an LSTM: gates, states and output."""
    wci, wcf, wco, b = (on_device(v) for v in (wci, wcf, wco, b))
    return lstm_step(
        product(ops.concatenate([x, h_prev], axis=-1), w) + b,
        on_device(cs_prev),
        order="icfo",
        forget_bias=forget_bias,
        cell_clip=cell_clip,
        peepholes=(wci, wcf, wco) if use_peephole else None,
    )


def block_lstm(seq_len_max: Value, x: Value, cell: Value, out: Value, w: Value, b: Value, **how: Any) -> tuple[Value, ...]:
    """An LSTM over time, `x` being (time, batch, features): each of `Gates` for all steps, 0 from `seq_len_max` on."""
    x, w, b, cell, out = (on_device(v) for v in (x, w, b, cell, out))
    features = int(static_shape(x)[-1] or 0)
    inputs = product(x, w[:features]) + b
    steps = ops.cast(ops.arange(ops.shape(x)[0]), "int32")
    live = ops.cast(steps < ops.cast(on_device(seq_len_max), "int32"), dtype_of(inputs))

    def step(state: Value, given: tuple[Value, Value]) -> tuple[Value, Value]:
        gates, alive = given
        before = ops.split(state, 7, axis=-1)
        found = ops.concatenate(lstm_step(gates + product(before[6], w[features:]), before[1], **how), axis=-1)
        return found, found * alive

    # Keras' scan on TensorFlow wants each step's answer in the form of the state: all seven, side by side.
    zero = ops.zeros_like(cell)
    _, outputs = ops.scan(step, ops.concatenate([zero, cell, zero, zero, zero, zero, out], axis=-1), (inputs, live))
    return tuple(ops.split(outputs, 7, axis=-1))


@lowering("BlockLSTM")
def block_lstm_v1(
    seq_len_max: Value,
    x: Value,
    cs_prev: Value,
    h_prev: Value,
    w: Value,
    wci: Value,
    wcf: Value,
    wco: Value,
    b: Value,
    *,
    forget_bias: float = 1.0,
    cell_clip: float = 3.0,
    use_peephole: bool = False,
) -> tuple[Value, ...]:
    """An LSTM over time whose gates stand in the order input, cell, forget, output."""
    peepholes = (on_device(wci), on_device(wcf), on_device(wco)) if use_peephole else None
    how = {"order": "icfo", "forget_bias": forget_bias, "cell_clip": cell_clip, "peepholes": peepholes}
    return block_lstm(seq_len_max, x, cs_prev, h_prev, w, b, **how)


@lowering("BlockLSTMV2")
def block_lstm_v2(
    seq_len_max: Value,
    x: Value,
    cs_prev: Value,
    h_prev: Value,
    w: Value,
    wci: Value,
    wcf: Value,
    wco: Value,
    b: Value,
    *,
    cell_clip: float = 0.0,
    use_peephole: bool = False,
) -> tuple[Value, ...]:
    """An LSTM over time whose gates stand in the order input, forget, cell, output."""
    peepholes = (on_device(wci), on_device(wcf), on_device(wco)) if use_peephole else None
    how = {"order": "ifco", "forget_bias": 0.0, "cell_clip": cell_clip, "peepholes": peepholes}
    return block_lstm(seq_len_max, x, cs_prev, h_prev, w, b, **how)


@lowering("GRUBlockCell", gradient="none")
def gru_block_cell(x: Value, h_prev: Value, w_ru: Value, w_c: Value, b_ru: Value, b_c: Value) -> tuple[Value, ...]:
    """One step of a GRU: reset gate, update gate, candidate, output."""
    h_prev, b_ru, b_c = on_device(h_prev), on_device(b_ru), on_device(b_c)
    sums = product(ops.concatenate([x, h_prev], axis=-1), w_ru) + b_ru
    reset, update = ops.split(ops.sigmoid(sums), 2, axis=-1)
    new = ops.tanh(product(ops.concatenate([x, reset * h_prev], axis=-1), w_c) + b_c)
    return reset, update, new, update * h_prev + (1 - update) * new


State = tuple[Value, Value]
Step = Callable[[Value, Value, State], State]
"""From the input's sums, the state's sums and the state (output, cell) to the next state."""


def cudnn_lstm(inputs: Value, states: Value, state: State) -> State:
    """CuDNN's LSTM: gates input, forget, cell, output."""
    entry, reset, new, out = ops.split(inputs + states, 4, axis=-1)
    cell = ops.sigmoid(reset) * state[1] + ops.sigmoid(entry) * ops.tanh(new)
    return ops.sigmoid(out) * ops.tanh(cell), cell


def cudnn_gru(inputs: Value, states: Value, state: State) -> State:
    """CuDNN's GRU: gates reset, update, candidate; the reset acts after the product."""
    a, b = ops.split(inputs, 3, axis=-1), ops.split(states, 3, axis=-1)
    reset, update = ops.sigmoid(a[0] + b[0]), ops.sigmoid(a[1] + b[1])
    new = ops.tanh(a[2] + reset * b[2])
    return (1 - update) * new + update * state[0], state[1]


CELLS: dict[str, tuple[int, Step]] = {
    "lstm": (4, cudnn_lstm),
    "gru": (3, cudnn_gru),
    "rnn_tanh": (1, lambda a, b, state: (ops.tanh(a + b), state[1])),
    "rnn_relu": (1, lambda a, b, state: (ops.relu(a + b), state[1])),
}
"""Number of gates and step, by `rnn_mode`."""


class Layer:
    """The weights of one direction of one layer, cut out of cuDNN's packed vector."""

    def __init__(self, kernel: Value, recurrent: Value, bias: Value, recurrent_bias: Value) -> None:
        self.kernel, self.recurrent = kernel, recurrent  # (features, gates * units), (units, gates * units)
        self.bias, self.recurrent_bias = bias, recurrent_bias


def unpacked(params: Value, layers: int, directions: int, gates: int, units: int, features: int) -> list[Layer]:
    """The layers in cuDNN's order: all matrices first (input's, then state's, gate by gate), then all biases."""
    matrices, at = [], 0
    for layer in range(layers):
        width = features if layer == 0 else units * directions
        for _ in range(directions):
            pair = []
            for rows in (width, units):
                size = gates * units * rows
                pair.append(ops.transpose(ops.reshape(params[at : at + size], (gates * units, rows))))
                at += size
            matrices.append(pair)
    result = []
    for kernel, recurrent in matrices:
        size = gates * units
        result.append(Layer(kernel, recurrent, params[at : at + size], params[at + size : at + 2 * size]))
        at += 2 * size
    return result


def swept(layer: Layer, step: Step, x: Value, state: State, live: Value, backward: bool) -> tuple[Value, State]:
    """One direction of one layer over time: outputs (time, batch, units), and the state after the last live step."""
    inputs = product(x, layer.kernel) + layer.bias

    def one(state: Value, given: tuple[Value, Value]) -> tuple[Value, Value]:
        sums, alive = given
        out, cell = ops.split(state, 2, axis=-1)
        new = step(sums, product(out, layer.recurrent) + layer.recurrent_bias, (out, cell))
        both = ops.concatenate(new, axis=-1)
        return ops.where(alive, both, state), ops.where(alive, both, ops.zeros_like(both))

    if backward:
        inputs, live = ops.flip(inputs, axis=0), ops.flip(live, axis=0)
    last, stacked = ops.scan(one, ops.concatenate(state, axis=-1), (inputs, live))
    outputs = ops.split(stacked, 2, axis=-1)[0]
    end = ops.split(last, 2, axis=-1)
    return (ops.flip(outputs, axis=0) if backward else outputs), (end[0], end[1])


def cudnn(
    x: Value,
    input_h: Value,
    input_c: Value,
    params: Value,
    lengths: Value | None,
    *,
    rnn_mode: str,
    input_mode: str,
    direction: str,
    dropout: float,
    is_training: bool,
) -> tuple[Value, Value, Value]:
    """A stack of recurrent layers on `x` (time, batch, features): outputs, last outputs and last cells of each layer.

    Raises:
        UnhandledValueError: a mode that is not known, or dropout between layers in training.
    """
    if rnn_mode not in CELLS:
        raise UnhandledValueError("CudnnRNN", "rnn_mode", rnn_mode, CELLS)
    if input_mode not in {"linear_input", "auto_select"}:
        raise UnhandledValueError("CudnnRNN", "input_mode", input_mode, ("linear_input", "auto_select"))
    gates, step = CELLS[rnn_mode]
    directions = 2 if direction == "bidirectional" else 1
    input_h, input_c, params = on_device(input_h), on_device(input_c), on_device(params)
    stacked, _, units = (int(n or 0) for n in (static_shape(input_h)[0], 0, static_shape(input_h)[2]))
    layers = stacked // directions
    if dropout and is_training and layers > 1:
        raise UnhandledValueError("CudnnRNN", "dropout", dropout, (0.0,))
    x = ops.convert_to_tensor(x)
    time, batch = ops.shape(x)[:2]
    steps = ops.reshape(ops.cast(ops.arange(time), "int32"), (-1, 1, 1))
    ends = ops.full((batch,), time, dtype="int32") if lengths is None else ops.cast(lengths, "int32")
    live = steps < ops.reshape(ends, (1, -1, 1))
    cells = input_c if rnn_mode == "lstm" else ops.zeros_like(input_h)
    packed = unpacked(params, layers, directions, gates, units, int(static_shape(x)[-1] or 0))
    last: list[State] = []
    for layer in range(layers):
        sweeps = []
        for side in range(directions):
            number = layer * directions + side
            state = (input_h[number], cells[number])
            outputs, end = swept(packed[number], step, x, state, live, backward=side == 1)
            sweeps.append(outputs)
            last.append(end)
        x = sweeps[0] if directions == 1 else ops.concatenate(sweeps, axis=-1)
    return x, ops.stack([s[0] for s in last]), ops.stack([s[1] for s in last])


EMPTY = np.zeros((0,), "float32")
NO_BYTES = np.zeros((0,), "int8")


@lowering("CudnnRNN", ignored=("seed", "seed2"))
def cudnn_rnn(
    input: Value,
    input_h: Value,
    input_c: Value,
    params: Value,
    *,
    rnn_mode: str = "lstm",
    input_mode: str = "linear_input",
    direction: str = "unidirectional",
    dropout: float = 0.0,
    is_training: bool = True,
) -> tuple[Value, ...]:
    """A stack of recurrent layers with cuDNN's packed weights; an empty reserved output."""
    how: dict[str, Any] = {"rnn_mode": rnn_mode, "input_mode": input_mode, "direction": direction}
    found = cudnn(input, input_h, input_c, params, None, dropout=dropout, is_training=is_training, **how)
    return (*found, EMPTY)


@lowering("CudnnRNNV2", ignored=("seed", "seed2"))
def cudnn_rnn_v2(
    input: Value,
    input_h: Value,
    input_c: Value,
    params: Value,
    *,
    rnn_mode: str = "lstm",
    input_mode: str = "linear_input",
    direction: str = "unidirectional",
    dropout: float = 0.0,
    is_training: bool = True,
) -> tuple[Value, ...]:
    """CudnnRNN with two reserved outputs."""
    how: dict[str, Any] = {"rnn_mode": rnn_mode, "input_mode": input_mode, "direction": direction}
    found = cudnn(input, input_h, input_c, params, None, dropout=dropout, is_training=is_training, **how)
    return (*found, EMPTY, NO_BYTES)


@lowering("CudnnRNNV3", ignored=("seed", "seed2"))
def cudnn_rnn_v3(
    input: Value,
    input_h: Value,
    input_c: Value,
    params: Value,
    sequence_lengths: Value,
    *,
    rnn_mode: str = "lstm",
    input_mode: str = "linear_input",
    direction: str = "unidirectional",
    dropout: float = 0.0,
    num_proj: int = 0,
    is_training: bool = True,
    time_major: bool = True,
) -> tuple[Value, ...]:
    """CudnnRNNV2 for sequences of different lengths, and with the batch first where `time_major` is not set."""
    if num_proj:
        raise UnhandledValueError("CudnnRNNV3", "num_proj", num_proj, (0,))

    def turned(*values: Value, axes: Sequence[int] = (1, 0, 2)) -> list[Value]:
        return [v if time_major else ops.transpose(v, axes) for v in values]

    x, h, c = turned(input, input_h, input_c) if rnn_mode == "lstm" else [*turned(input, input_h), input_c]
    how: dict[str, Any] = {"rnn_mode": rnn_mode, "input_mode": input_mode, "direction": direction}
    found = cudnn(x, h, c, params, sequence_lengths, dropout=dropout, is_training=is_training, **how)
    return (*turned(*found), EMPTY, NO_BYTES)
