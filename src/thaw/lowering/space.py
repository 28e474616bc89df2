"""Rearranging space, batch and depth: blocks of pixels to channels or to the batch, and back; patches.

Only reshapes, transposes, pads and slices. Imports the registry, the values and the windows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of
from thaw.lowering.windows import from_last, resolve, spatial, to_last, windows_of


@lowering("DepthToSpace")
def depth_to_space(x: Value, *, block_size: int, data_format: str = "NHWC") -> Value:
    """Channels laid out as blocks of pixels."""
    x = ops.convert_to_tensor(to_last(x, data_format))
    batch, rows, columns, channels = ops.shape(x)
    k = block_size
    depth = channels // (k * k)
    x = ops.transpose(ops.reshape(x, (batch, rows, columns, k, k, depth)), (0, 1, 3, 2, 4, 5))
    return from_last(ops.reshape(x, (batch, rows * k, columns * k, depth)), data_format)


@lowering("SpaceToDepth")
def space_to_depth(x: Value, *, block_size: int, data_format: str = "NHWC") -> Value:
    """Blocks of pixels laid out as channels."""
    x = ops.convert_to_tensor(to_last(x, data_format))
    batch, rows, columns, channels = ops.shape(x)
    k = block_size
    x = ops.transpose(ops.reshape(x, (batch, rows // k, k, columns // k, k, channels)), (0, 1, 3, 2, 4, 5))
    return from_last(ops.reshape(x, (batch, rows // k, columns // k, k * k * channels)), data_format)


def batch_to_space(x: Value, blocks: Sequence[int], crops: Value) -> Value:
    """The batch's leading blocks interleaved into the axes after it, then cropped."""
    x = ops.convert_to_tensor(x)
    shape = list(ops.shape(x))
    count, total = len(blocks), int(np.prod(blocks))
    x = ops.reshape(x, [*blocks, shape[0] // total, *shape[1:]])
    order: list[int] = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    x = ops.transpose(x, (*order, *range(2 * count + 1, len(shape) + count)))
    lengths = [n * b for n, b in zip(shape[1 : count + 1], blocks, strict=True)]
    x = ops.reshape(x, [shape[0] // total, *lengths, *shape[count + 1 :]])
    cuts = [slice(int(a), n - int(b)) for (a, b), n in zip(crops, lengths, strict=True)]
    return x[(slice(None), *cuts)]


def space_to_batch(x: Value, blocks: Sequence[int], paddings: Value) -> Value:
    """The axes after the batch padded, then split into blocks that lead the batch."""
    rest = len(x.shape) - 1 - len(blocks)
    x = ops.pad(x, [(0, 0), *((int(a), int(b)) for a, b in paddings), *[(0, 0)] * rest])
    shape = list(ops.shape(x))
    count = len(blocks)
    split: list[Any] = [shape[0]]
    for n, b in zip(shape[1 : count + 1], blocks, strict=True):
        split += [n // b, b]
    x = ops.reshape(x, [*split, *shape[count + 1 :]])
    inner, outer = list(range(2, 2 * count + 1, 2)), list(range(1, 2 * count, 2))
    x = ops.transpose(x, (*inner, 0, *outer, *range(2 * count + 1, 2 * count + 1 + rest)))
    lengths = [n // b for n, b in zip(shape[1 : count + 1], blocks, strict=True)]
    return ops.reshape(x, [shape[0] * int(np.prod(blocks)), *lengths, *shape[count + 1 :]])


@lowering("BatchToSpaceND", static=("block_shape", "crops"), ignored=("Tblock_shape", "Tcrops"))
def batch_to_space_nd(x: Value, block_shape: Value, crops: Value) -> Value:
    """The batch's leading blocks interleaved into the axes after it, then cropped."""
    return batch_to_space(x, [int(b) for b in block_shape], crops)


@lowering("SpaceToBatchND", static=("block_shape", "paddings"), ignored=("Tblock_shape",))
def space_to_batch_nd(x: Value, block_shape: Value, paddings: Value) -> Value:
    """The axes after the batch padded, then split into blocks that lead the batch."""
    return space_to_batch(x, [int(b) for b in block_shape], paddings)


@lowering("BatchToSpace", static=("crops",))
def batch_to_space_square(x: Value, crops: Value, *, block_size: int) -> Value:
    """BatchToSpaceND over height and width."""
    return batch_to_space(x, (block_size, block_size), crops)


@lowering("SpaceToBatch", static=("paddings",))
def space_to_batch_square(x: Value, paddings: Value, *, block_size: int) -> Value:
    """SpaceToBatchND over height and width."""
    return space_to_batch(x, (block_size, block_size), paddings)


@lowering("ExtractImagePatches")
def extract_image_patches(
    images: Value, *, ksizes: Sequence[int], strides: Sequence[int], rates: Sequence[int], padding: str
) -> Value:
    """The pixels under each window, laid out as channels."""
    op = "ExtractImagePatches"
    parts = windows_of(
        op,
        ops.convert_to_tensor(images),
        resolve(op, padding, (), "NHWC"),
        spatial(ksizes, "NHWC"),
        spatial(strides, "NHWC"),
        spatial(rates, "NHWC"),
        value=0.0 if "float" in dtype_of(images) else 0,
    )
    return ops.concatenate(parts, axis=-1)


@lowering("ExtractVolumePatches")
def extract_volume_patches(x: Value, *, ksizes: Sequence[int], strides: Sequence[int], padding: str) -> Value:
    """The voxels under each window, laid out as channels."""
    op = "ExtractVolumePatches"
    window, steps = spatial(ksizes, "NDHWC"), spatial(strides, "NDHWC")
    parts = windows_of(op, ops.convert_to_tensor(x), resolve(op, padding, (), "NDHWC"), window, steps)
    return ops.concatenate(parts, axis=-1)
