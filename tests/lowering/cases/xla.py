"""XLA's own ops, of exports of JAX."""

import functools

import numpy as np

from lowering.case import Case

R = np.random.default_rng(23)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


def i(*items):
    return np.array(items, dtype="int32")


def message(**fields: list[int]) -> bytes:
    """A protocol buffer message of small integers: `f1=[0, 2]` is field 1."""
    return b"".join(bytes((int(name[1:]) << 3, n)) for name, numbers in fields.items() for n in numbers)


def dot(left, right, left_batch=(), right_batch=()):
    numbers = message(f1=left, f2=right, f3=left_batch, f4=right_batch)
    return {"dimension_numbers": numbers, "precision_config": b""}


def conv(kernel: tuple, image: tuple, result: tuple, **attrs):
    """Axes of the kernel (inputs, outputs, space), of the image and of the result (batch, features, space)."""
    numbers = message(
        f3=[kernel[0]], f4=[kernel[1]], f6=kernel[2], f7=[image[0]], f8=[image[1]], f11=image[2],
        f9=[result[0]], f10=[result[1]], f12=result[2],
    )  # fmt: skip
    return {"dimension_numbers": numbers, "precision_config": b""} | attrs


LAST = conv((2, 3, (0, 1)), (0, 3, (1, 2)), (0, 3, (1, 2)))
FIRST = conv((1, 0, (2, 3)), (0, 1, (2, 3)), (0, 1, (2, 3)))


def gather(offset=(), collapsed=(), mapped=(), vector=0):
    return {"dimension_numbers": message(f1=offset, f2=collapsed, f3=mapped, f4=[vector]), "indices_are_sorted": False}


def steps(strides=(1, 1), padding=((0, 0), (0, 0)), spread=(1, 1), dilations=(1, 1), groups=1):
    return i(*strides), np.array(padding, "int32"), i(*spread), i(*dilations), np.array(groups, "int32")


case = functools.partial(Case, gradient=False)  # TensorFlow has none for these ops

WIDE = {"preferred_element_type": "float32"}
TABLE, CUBE = f(7, 5), f(3, 4, 5)

SYMMETRIC = np.array([[[2, 1, 0], [1, 3, 1], [0, 1, 4]]], "float32") + np.tril(np.ones((3, 3), "float32"), -3)
EIG = {"max_iter": 100, "epsilon": 1e-6}

CASES = [
    case("XlaDot", "matrices", (f(2, 3), f(3, 4)), dot([1], [0])),
    case("XlaDotV2", "batch-and-two-axes", (f(2, 3, 4, 5), f(2, 5, 6, 3)), dot([1, 3], [3, 1], [0], [0]) | WIDE),
    case("XlaDotV2", "batch-in-the-middle", (f(3, 2, 4), f(4, 5, 2)), dot([2], [0], [1], [2]) | WIDE),
    case("XlaDotV2", "outer", (f(2, 3), f(4)), dot([], []) | WIDE),
    case("XlaConv", "channels-last-same", (f(2, 6, 5, 3), f(3, 3, 3, 4), *steps((2, 1), ((1, 1), (1, 1)))), LAST),
    case(
        "XlaConvV2",
        "channels-first",
        (f(2, 3, 6, 5), f(4, 3, 3, 2), *steps((1, 2), ((0, 1), (2, 0)), dilations=(2, 1))),
        FIRST | WIDE,
    ),
    case("XlaConvV2", "transposed", (f(1, 4, 3, 2), f(3, 3, 2, 3), *steps(padding=((1, 2), (1, 2)), spread=(2, 2))), LAST | WIDE),
    case("XlaConvV2", "cropped", (f(1, 6, 6, 2), f(2, 2, 2, 3), *steps(padding=((-1, 0), (0, -2)))), LAST | WIDE),
    case("XlaConvV2", "grouped", (f(2, 5, 5, 4), f(3, 3, 2, 6), *steps(groups=2)), LAST | WIDE),
    case("XlaConvV2", "depthwise", (f(2, 5, 5, 3), f(3, 3, 1, 3), *steps(groups=3)), LAST | WIDE),
    case(
        "XlaConvV2",
        "over-time",
        (f(2, 8, 3), f(3, 3, 4), i(2), np.array([[1, 1]], "int32"), i(1), i(1), np.array(1, "int32")),
        conv((1, 2, (0,)), (0, 2, (1,)), (0, 2, (1,))) | WIDE,
    ),
    case("XlaPad", "around-and-between", (f(2, 3), np.float32(1.5), i(1, 0), i(0, 2), i(2, 1))),
    case("XlaPad", "cut", (f(4, 5), np.float32(0), i(-1, 2), i(1, -2), i(0, 0))),
    case("XlaDynamicSlice", "inside", (CUBE, i(1, 0, 2), i(2, 3, 2))),
    case("XlaDynamicSlice", "moved-inside", (CUBE, i(9, -4, 4), i(2, 3, 2))),
    case("XlaDynamicUpdateSlice", "inside", (CUBE, f(2, 1, 5), i(1, 2, 0))),
    case("XlaDynamicUpdateSlice", "moved-inside", (CUBE, f(2, 1, 5), i(7, -2, 3))),
    case("XlaGather", "rows", (TABLE, i([3], [0], [6]), i(1, 5)), gather([1], [0], [0], 1)),
    case("XlaGather", "rows-without-an-axis-of-positions", (TABLE, i(3, 9, -2), i(1, 5)), gather([1], [0], [0], 1)),
    case("XlaGather", "blocks", (CUBE, i([0, 1], [2, 3], [1, 9]), i(1, 2, 3)), gather([0, 2], [0], [1, 2], 1)),
    case(
        "XlaGather",
        "elements",
        (CUBE, i([0, 1, 2], [2, 3, 4]).T.copy(), i(1, 1, 1)),
        gather([], [0, 1, 2], [0, 1, 2], 0),
    ),
    case("XlaSort", "rows", (f(3, 5),)),
    case("XlaKeyValueSort", "pairs", (R.permutation(8).astype("int32"), f(8))),
    case("XlaEinsum", "batch", (f(2, 3, 4), f(2, 4, 5)), {"equation": "bij,bjk->bik"}),
    Case("XlaSelfAdjointEig", "lower", (SYMMETRIC,), EIG | {"lower": True}, gradient=False, outputs=1),
    Case("XlaSelfAdjointEig", "upper", (SYMMETRIC,), EIG | {"lower": False}, gradient=False, outputs=1),
    Case("XlaSvd", "tall", (f(2, 5, 3),), EIG | {"precision_config": ""}, gradient=False, outputs=1),
    Case("XlaReducePrecision", "bfloat16", (f(3, 4),), {"exponent_bits": 8, "mantissa_bits": 7}, gradient=False),
    Case("XlaReducePrecision", "as-it-is", (f(3, 4),), {"exponent_bits": 8, "mantissa_bits": 23}, gradient=False),
    case("XlaSharding", "nothing", (f(2, 3),)),
    case("XlaOptimizationBarrier", "two", (f(2), i(1, 2))),
]

ELSEWHERE = dict.fromkeys(
    (
        "XlaReduce",
        "XlaReduceWindow",
        "XlaScatter",
        "XlaSelectAndScatter",
        "XlaVariadicReduce",
        "XlaVariadicReduceV2",
        "XlaVariadicSort",
    ),
    "test_xla.py: its function is one of the library",
)
