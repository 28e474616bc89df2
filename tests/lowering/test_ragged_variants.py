"""Ragged tensors that travel as one value: there and back."""

import numpy as np

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.lowering.registry import LOWERINGS

SPLITS, DEEP, VALUES = np.array([0, 2, 2, 3]), np.array([0, 1, 3, 4]), np.array([1.0, 2, 3, 4], "float32")


def there(*inputs, **attrs):
    return LOWERINGS["RaggedTensorToVariant"].function(*inputs, **attrs)


def back(encoded, **attrs):
    return [x.tolist() for x in LOWERINGS["RaggedTensorFromVariant"].function(encoded, **attrs)]


def test_whole_tensor():
    encoded = there(SPLITS, DEEP, VALUES, RAGGED_RANK=2, batched_input=False)
    assert encoded.shape == ()
    assert back(encoded, input_ragged_rank=2, output_ragged_rank=2) == [SPLITS.tolist(), DEEP.tolist(), VALUES.tolist()]


def test_rows_are_values_of_their_own_and_come_back_together():
    encoded = there(SPLITS, DEEP, VALUES, RAGGED_RANK=2, batched_input=True)
    assert encoded.shape == (3,)
    assert back(encoded[:1], input_ragged_rank=1, output_ragged_rank=2) == [[0, 2], [0, 1, 3], [1, 2, 3]]
    assert back(encoded, input_ragged_rank=-1, output_ragged_rank=2) == [SPLITS.tolist(), DEEP.tolist(), VALUES.tolist()]
    assert back(encoded[::2], input_ragged_rank=1, output_ragged_rank=2) == [[0, 2, 3], [0, 1, 3, 4], VALUES.tolist()]


def test_dense_rows():
    encoded = there(np.arange(6).reshape(3, 2), RAGGED_RANK=0, batched_input=True)
    assert back(encoded, input_ragged_rank=0, output_ragged_rank=1) == [[0, 2, 4, 6], [0, 1, 2, 3, 4, 5]]
