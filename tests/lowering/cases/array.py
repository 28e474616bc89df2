"""Shapes, stacking, splitting, joining, filling."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(2)
ELSEWHERE = {
    "PartitionedCall": "tests/lowering/test_variables.py: it runs a function of the library",
    "StatefulPartitionedCall": "tests/lowering/test_variables.py: it runs a function of the library",
    "NoOp": "has no output",
    "Assert": "has no output",
    "PrintV2": "has no output",
    "Print": "TensorFlow writes to the standard error; the value is its first input",
    "BatchFunction": "tests/lowering/test_variables.py: it runs a function of the library",
    "FakeParam": "nobody reads its value",
    "RefIdentity": "a reference is its variable's value here",
    "DeviceIndex": "TensorFlow answers for the machine on which it runs",
    "GuaranteeConst": "tests/lowering/test_agreement.py",
    "Empty": "TensorFlow leaves the values open",
    "PlaceholderWithDefault": "tests/lowering/test_variables.py: it stands for an input of the graph",
    "PreventGradient": "TensorFlow refuses its gradient; the value is its input",
}


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


TEXT = np.array([[b"a", b"bc"], [b"", b"\xff\x00"]], dtype=object)
AXIS = np.int32


def known(op, id, *inputs, **attrs):
    return Case(op, id, inputs, attrs, gradient=False)


CASES = [
    Case("ToBool", "zero", (np.float32(0),), gradient=False),
    Case("ToBool", "a-number", (np.array(3, "int32"),), gradient=False),
    Case("ToBool", "elements", (np.zeros((2, 1), "float32"),), gradient=False),
    Case("ToBool", "no-elements", (np.zeros((0, 1), "float32"),), gradient=False),
    Case("Identity", "float32", (f(2, 3),)),
    known("Identity", "strings", TEXT),
    Case("Snapshot", "float32", (f(2, 3),), gradient=False),
    Case("DeepCopy", "float32", (f(2, 3),), gradient=False),
    Case("IdentityN", "two", (f(2, 3), i(1, 2))),
    Case("StopGradient", "no-gradient", (f(2, 3),)),
    Case("CheckNumerics", "finite", (f(2, 3),), {"message": "m"}),
    Case("CheckNumericsV2", "finite", (f(2, 3),), {"message": "m"}),
    Case("EnsureShape", "unknown-batch", (f(2, 3),), {"shape": (None, 3)}),
    known("Shape", "int32", f(2, 0, 3)),
    known("Shape", "int64-of-scalar", f(), out_type="int64"),
    known("Shape", "strings", TEXT),
    known("ShapeN", "two", f(2, 3), f(4)),
    known("Rank", "three", f(2, 0, 3)),
    known("Size", "six", f(2, 3)),
    known("Size", "int64", f(2, 3), out_type="int64"),
    Case("Reshape", "minus-one", (f(2, 3, 4), i(-1, 6))),
    Case("Reshape", "to-scalar", (f(1, 1), np.zeros(0, "int32"))),
    Case("Reshape", "empty-with-minus-one", (f(0, 3), i(-1, 3))),
    known("Reshape", "strings", TEXT, i(4)),
    known("Reshape", "int64-shape", i(1, 2, 3, 4), i(2, 2, dtype="int64")),
    Case("Squeeze", "all", (f(1, 2, 1),)),
    Case("Squeeze", "named", (f(1, 2, 1),), {"squeeze_dims": (-1,)}),
    known("Squeeze", "strings-to-scalar", TEXT[:1, :1]),
    Case("ExpandDims", "last", (f(2, 3), AXIS(-1))),
    Case("ExpandDims", "first", (f(2, 3), AXIS(0))),
    known("ExpandDims", "strings", TEXT, AXIS(1)),
    Case("Pack", "first-axis", (f(2, 3), f(2, 3))),
    Case("Pack", "last-axis", (f(2, 3), f(2, 3)), {"axis": -1}),
    Case("Pack", "scalars", (f(), f(), f())),
    known("Pack", "strings", TEXT[0], TEXT[1]),
    Case("Unpack", "first-axis", (f(2, 3),), {"num": 2}),
    Case("Unpack", "last-axis", (f(2, 3),), {"num": 3, "axis": -1}),
    known("Unpack", "strings", TEXT[0], num=2),
    Case("Split", "last-axis", (AXIS(-1), f(2, 6)), {"num_split": 3}),
    Case("Split", "one", (AXIS(0), f(2, 6)), {"num_split": 1}),
    Case("SplitV", "one-width-open", (f(2, 6), i(1, -1, 2), AXIS(1)), {"num_split": 3}),
    Case("SplitV", "an-empty-part", (f(2, 6), i(0, 6, dtype="int64"), AXIS(1)), {"num_split": 2}),
    Case("ConcatV2", "last-axis", (f(2, 3), f(2, 1), AXIS(-1))),
    Case("ConcatV2", "an-empty-one", (f(2, 3), f(0, 3), AXIS(0))),
    Case("ConcatV2", "float16", (f(2, 3, dtype="float16"), f(2, 1, dtype="float16"), AXIS(1))),
    known("ConcatV2", "strings", TEXT, TEXT, AXIS(0)),
    Case("Concat", "axis-first", (AXIS(1), f(2, 3), f(2, 1))),
    known("ParallelConcat", "rows", f(1, 3), f(1, 3), shape=(2, 3)),
    known("ConcatOffset", "second-axis", AXIS(1), i(2, 3), i(2, 5), i(2, 1)),
    Case("Fill", "float32", (i(2, 3), f())),
    Case("Fill", "int64-lengths", (i(2, 0, dtype="int64"), f())),
    known("Fill", "strings", i(2), np.array(b"x", dtype=object)),
    known("ZerosLike", "float32", f(2, 3)),
    known("ZerosLike", "strings", TEXT),
    known("ZerosLike", "bool", np.array([True])),
    known("OnesLike", "float16", f(2, 3, dtype="float16")),
    Case("BroadcastTo", "new-axis", (f(3), i(2, 3))),
    Case("BroadcastTo", "scalar", (f(), i(2, 3))),
    known("BroadcastArgs", "both", i(2, 1), i(1, 3)),
    known("BroadcastArgs", "shorter", i(3), i(4, 1, 3)),
    known("BroadcastGradientArgs", "both", i(2, 1, 5), i(3, 5)),
    known("BroadcastGradientArgs", "same", i(2, 3), i(2, 3)),
    known("BroadcastGradientArgs", "ones", i(1, 3), i(1, 1)),
    known("Range", "int32-up", AXIS(2), AXIS(11), AXIS(3)),
    known("Range", "int32-down", AXIS(11), AXIS(2), AXIS(-3)),
    known("Range", "float32", np.float32(0), np.float32(1), np.float32(0.25)),
    known("Range", "nothing", AXIS(3), AXIS(3), AXIS(1)),
    known("LinSpace", "five", np.float32(-1), np.float32(2), AXIS(5)),
    known("LinSpace", "one", np.float32(-1), np.float32(2), AXIS(1)),
]
