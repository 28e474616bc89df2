"""Diagonals and bands of matrices: making, reading, replacing them."""

from typing import Any

import numpy
from keras import ops

from thaw.lowering.elementwise import apply
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, is_host, sizes, static_shape


@lowering("MatrixBandPart", "BatchMatrixBandPart", static=("num_lower", "num_upper"), ignored=("Tindex",))
def band_part(input: Value, num_lower: Value, num_upper: Value) -> Value:
    """The band between two diagonals, zeros elsewhere; a negative number means the whole half."""
    rows, columns = (int(n or 0) for n in static_shape(input)[-2:])
    distance = numpy.arange(rows)[:, None] - numpy.arange(columns)[None, :]
    below, above = int(num_lower), int(num_upper)
    inside = ((below < 0) | (distance <= below)) & ((above < 0) | (-distance <= above))
    return apply(lambda np, x, m: np.where(m, x, np.zeros_like(x)), input, inside)


@lowering("Diag")
def diagonal_tensor(diagonal: Value) -> Value:
    """A tensor of twice the rank with `diagonal` on its diagonal."""
    own = [int(n or 0) for n in static_shape(diagonal)]
    flat = apply(lambda np, x: np.reshape(x, (-1,)), diagonal)
    return apply(lambda np, x: np.reshape(np.diag(x), (*own, *own)), flat)


@lowering("DiagPart")
def diagonal_of_tensor(input: Value) -> Value:
    """The diagonal of a tensor of even rank."""
    own = [int(n or 0) for n in static_shape(input)]
    half = own[: len(own) // 2]
    size = int(numpy.prod(half))
    return apply(lambda np, x: np.reshape(np.diagonal(np.reshape(x, (size, size))), half), input)


class Band:
    """Where the elements of diagonals `low` to `high` of a matrix lie, in the layout of TensorFlow's diagonal ops.

    A band is (diagonals, longest), the uppermost diagonal first, shorter ones padded on the side that `align` says.
    """

    def __init__(self, rows: int, columns: int, k: Value, align: str) -> None:
        ends = sizes(k)
        self.low, self.high = ends[0], ends[-1]
        self.rows, self.columns = rows, columns
        self.longest = min(rows + min(self.high, 0), columns - max(self.low, 0))
        upper, lower = align.split("_")
        self.offsets = {
            d: self.longest - self.length(d) if (upper if d >= 0 else lower) == "RIGHT" else 0
            for d in range(self.low, self.high + 1)
        }

    def length(self, d: int) -> int:
        """How many elements diagonal `d` has."""
        return min(self.rows + min(d, 0), self.columns - max(d, 0))

    def reads(self) -> tuple[Any, Any]:
        """For each place of the band the flat position in the matrix, and whether there is one."""
        positions = numpy.zeros((self.high - self.low + 1, self.longest), dtype="int32")
        there = numpy.zeros(positions.shape, dtype=bool)
        for i, d in enumerate(range(self.high, self.low - 1, -1)):
            n = numpy.arange(self.length(d))
            positions[i, n + self.offsets[d]] = (n + max(-d, 0)) * self.columns + n + max(d, 0)
            there[i, n + self.offsets[d]] = True
        return positions, there

    def writes(self) -> tuple[Any, Any]:
        """For each place of the matrix the flat position in the band, and whether it lies in the band."""
        positions = numpy.zeros(self.rows * self.columns, dtype="int32")
        inside = numpy.zeros(positions.shape, dtype=bool)
        read, there = self.reads()
        positions[read[there]] = numpy.flatnonzero(there)
        inside[read[there]] = True
        return positions.reshape(self.rows, self.columns), inside.reshape(self.rows, self.columns)


def _take_last(np: Any, x: Value, axes: int, positions: Any) -> Value:
    """`x` with its last axes as one, at `positions` of that one."""
    lead = static_shape(x)[:-axes]
    flat = np.reshape(x, (*(-1 if n is None else n for n in lead), int(numpy.prod([n or 0 for n in static_shape(x)[-axes:]]))))
    return np.take(flat, positions, axis=-1)


def _sides(matrix: Value) -> tuple[int, int]:
    rows, columns = static_shape(matrix)[-2:]
    return int(rows or 0), int(columns or 0)


def _fixed(padding: Value) -> Value:
    """`padding` without a gradient, as in TensorFlow."""
    return padding if is_host(padding) else ops.stop_gradient(padding)


def part(input: Value, k: Value, padding: Value, align: str) -> Value:
    """Diagonals of matrices as a band; a single one as a vector."""
    band = Band(*_sides(input), k, align)
    positions, there = band.reads()
    if band.low == band.high:
        positions, there = positions[0], there[0]
    return apply(lambda np, x, p, at, ok: np.where(ok, _take_last(np, x, 2, at), p), input, _fixed(padding), positions, there)


def replaced(input: Value, diagonal: Value, k: Value, align: str) -> Value:
    """Matrices with the band in place of their own diagonals."""
    band = Band(*_sides(input), k, align)
    positions, inside = band.writes()
    axes = 1 if band.low == band.high else 2
    return apply(lambda np, x, d, at, ok: np.where(ok, _take_last(np, d, axes, at), x), input, diagonal, positions, inside)


def made(diagonal: Value, k: Value, num_rows: Value, num_cols: Value, padding: Value, align: str) -> Value:
    """Matrices with the band on their diagonals, `padding` elsewhere; -1 rows or columns: as few as hold it."""
    ends = sizes(k)
    low, high = ends[0], ends[-1]
    longest = int(static_shape(diagonal)[-1] or 0)
    rows, columns = int(num_rows), int(num_cols)
    fewest = (longest - min(high, 0), longest + max(low, 0))
    if rows == columns == -1:
        rows = columns = max(fewest)
    rows, columns = (fewest[0] if rows == -1 else rows), (fewest[1] if columns == -1 else columns)
    positions, inside = Band(rows, columns, k, align).writes()
    axes = 1 if low == high else 2
    return apply(
        lambda np, d, p, at, ok: np.where(ok, _take_last(np, d, axes, at), p), diagonal, _fixed(padding), positions, inside
    )


MAIN = numpy.zeros((), dtype="int32")
FREE = numpy.full((), -1, dtype="int32")


def _zero(like: Value) -> Value:
    return numpy.zeros((), dtype=like.dtype) if is_host(like) else ops.zeros((), dtype=like.dtype)


@lowering("MatrixDiag", "BatchMatrixDiag")
def matrix_diagonal(diagonal: Value) -> Value:
    """Square matrices with the given diagonals."""
    return made(diagonal, MAIN, FREE, FREE, _zero(diagonal), "LEFT_LEFT")


@lowering("MatrixDiagV2", static=("k", "num_rows", "num_cols"))
def matrix_diagonals(diagonal: Value, k: Value, num_rows: Value, num_cols: Value, padding_value: Value) -> Value:
    """Matrices with the given diagonals, aligned left."""
    return made(diagonal, k, num_rows, num_cols, padding_value, "LEFT_LEFT")


@lowering("MatrixDiagV3", static=("k", "num_rows", "num_cols"))
def matrix_diagonals_aligned(
    diagonal: Value, k: Value, num_rows: Value, num_cols: Value, padding_value: Value, *, align: str = "RIGHT_LEFT"
) -> Value:
    """Matrices with the given diagonals."""
    return made(diagonal, k, num_rows, num_cols, padding_value, align)


@lowering("MatrixDiagPart", "BatchMatrixDiagPart")
def diagonal_part(input: Value) -> Value:
    """The diagonals of matrices."""
    return part(input, MAIN, _zero(input), "LEFT_LEFT")


@lowering("MatrixDiagPartV2", static=("k",))
def diagonals_part(input: Value, k: Value, padding_value: Value) -> Value:
    """Some diagonals of matrices, aligned left."""
    return part(input, k, padding_value, "LEFT_LEFT")


@lowering("MatrixDiagPartV3", static=("k",))
def diagonals_part_aligned(input: Value, k: Value, padding_value: Value, *, align: str = "RIGHT_LEFT") -> Value:
    """Some diagonals of matrices."""
    return part(input, k, padding_value, align)


@lowering("MatrixSetDiag", "BatchMatrixSetDiag")
def set_diagonal(input: Value, diagonal: Value) -> Value:
    """Matrices with other diagonals."""
    return replaced(input, diagonal, MAIN, "LEFT_LEFT")


@lowering("MatrixSetDiagV2", static=("k",))
def set_diagonals(input: Value, diagonal: Value, k: Value) -> Value:
    """Matrices with some other diagonals, aligned left."""
    return replaced(input, diagonal, k, "LEFT_LEFT")


@lowering("MatrixSetDiagV3", static=("k",))
def set_diagonals_aligned(input: Value, diagonal: Value, k: Value, *, align: str = "RIGHT_LEFT") -> Value:
    """Matrices with some other diagonals."""
    return replaced(input, diagonal, k, align)
