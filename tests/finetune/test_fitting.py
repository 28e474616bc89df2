"""What a module takes decides sizes, dtypes and value range of the batches; what it gives decides where the head stands."""

from pathlib import Path

import numpy as np
import pytest

import thaw
from finetune.making import image_folder, table
from thaw.errors import DataMismatchError
from thaw.finetune.data import Examples, read_data
from thaw.finetune.fitting import make_inputs, pixel_range, wanted, with_head
from thaw.graph.ir import Graph, Node, Tensor

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "models"
DIGITS = ROOT / "samples" / "digits"


@pytest.mark.parametrize(
    ("module", "kind", "size"),
    [
        pytest.param(DIGITS, "images", (8, 8), id="images"),
        pytest.param(MODELS / "tf1/image", "images", (8, 8), id="images-tf1-hub"),
        pytest.param(MODELS / "behaviour/words", "texts", (0, 0), id="texts"),
        pytest.param(MODELS / "tf1/tables", "texts", (0, 0), id="texts-tf1-hub"),
        pytest.param(MODELS / "tf2/half_plus_one", "numbers", (0, 0), id="one-column"),
        pytest.param(MODELS / "tf1/half_plus_two", "numbers", (0, 0), id="any-number-of-columns"),
        pytest.param(MODELS / "behaviour/several", "numbers", (0, 0), id="named-columns"),
    ],
)
def test_the_module_says_what_it_takes(module: Path, kind: str, size: tuple[int, int]) -> None:
    want = wanted(thaw.KerasLayer(module))
    assert (want.kind, want.size) == (kind, size)


def test_a_module_that_takes_images_and_more_is_refused() -> None:
    with pytest.raises(DataMismatchError, match=r"image: .*extra: .*Build the model in Python"):
        wanted(thaw.KerasLayer(MODELS / "tf2/keras2"))


def graph_of(*nodes: Node) -> Graph:
    """A graph of the pixels x and these nodes."""
    places = {n.name: n for n in (Node("x", "_Arg"), *nodes)}
    return Graph("images", places, (Tensor("x"),), (Tensor(nodes[-1].name),))


def constant(name: str, value: object) -> Node:
    return Node(name, "Const", attrs={"value": np.asarray(value, "float32")})


@pytest.mark.parametrize(
    ("op", "value", "highest"),
    [
        ("RealDiv", 255.0, 255.0),
        ("RealDiv", 127.5, 255.0),
        ("Mul", 1 / 255, 255.0),
        ("Sub", [123.7, 116.8, 103.9], 255.0),
        ("Mul", 2.0, 1.0),
        ("Sub", 0.5, 1.0),
    ],
)
def test_the_range_of_pixels_is_read_off_the_first_arithmetic(op: str, value: object, highest: float) -> None:
    first = Node("scaled", op, (Tensor("x"), Tensor("by")))
    assert pixel_range(graph_of(constant("by", value), first, Node("conv", "Conv2D", (Tensor("scaled"),)))) == (0.0, highest)


def test_a_range_given_by_the_user_holds() -> None:
    assert wanted(thaw.KerasLayer(DIGITS), value_range=(-1.0, 1.0)).range == (-1.0, 1.0)


def test_size_that_the_module_does_not_take() -> None:
    with pytest.raises(DataMismatchError, match=r"Images of 9 pixels.*Leave --image-size out"):
        wanted(thaw.KerasLayer(DIGITS), image_size=9)


def numbers(**columns: list[float]) -> Examples:
    size = len(next(iter(columns.values())))
    return Examples("numbers", {k: np.array(v, "float32") for k, v in columns.items()}, np.zeros(size, "int32"))


def test_columns_become_one_matrix_where_the_module_takes_one() -> None:
    layer = thaw.KerasLayer(MODELS / "tf1/half_plus_two")
    want, data = wanted(layer), numbers(a=[1, 2, 3], b=[4, 5, 6])
    batch = make_inputs(want, data, layer)(data.inputs)
    assert batch.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert with_head(layer, want, 5, columns=2)(batch).shape == (3, 5)


def test_columns_become_named_inputs_of_their_dtypes() -> None:
    layer = thaw.KerasLayer(MODELS / "behaviour/several")
    want, data = wanted(layer), numbers(scale=[1, 2], other=[0, 0], ids=[1, 0])
    batch = make_inputs(want, data, layer)(data.inputs)
    assert {k: (v.dtype.name, v.shape) for k, v in batch.items()} == {"ids": ("int64", (2,)), "scale": ("float32", (2, 1))}
    assert with_head(layer, want, 3)(batch).shape == (2, 3)


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        ("tf2/half_plus_one", {"a": [1.0], "b": [2.0]}, "2 numeric columns"),
        ("behaviour/several", {"ids": [1.0]}, r"lacks the columns \['scale'\]"),
        ("behaviour/words", {"a": [1.0]}, "Give it texts"),
    ],
)
def test_tables_that_do_not_fit(module: str, data: dict[str, list[float]], words: str) -> None:
    layer = thaw.KerasLayer(MODELS / module)
    with pytest.raises(DataMismatchError, match=words):
        make_inputs(wanted(layer), numbers(**data), layer)


def test_texts_and_images_come_as_the_module_takes_them(tmp_path: Path) -> None:
    layer = thaw.KerasLayer(MODELS / "behaviour/words")
    texts = read_data(table(tmp_path / "a.csv", {"text": ["a b", "c"] * 3, "label": ["x", "y"] * 3}))
    model = with_head(layer, wanted(layer), 2)
    assert model(make_inputs(wanted(layer), texts.train, layer)(texts.train.inputs)).shape == (len(texts.train), 2)
    layer = thaw.KerasLayer(MODELS / "tf1/image")
    images = read_data(image_folder(tmp_path / "i", {"a": 2, "b": 2}, size=20))
    batch = make_inputs(wanted(layer), images.train, layer)(images.train.inputs)
    assert batch.shape == (2, 8, 8, 3) and batch.dtype == np.float32 and 0.5 < batch.max() <= 1.0
    assert with_head(layer, wanted(layer), 4)(batch).shape == (2, 4)


def test_feature_maps_are_averaged_under_the_head() -> None:
    convolution = next(
        n for n, node in thaw.KerasLayer(DIGITS).program.variants[0].inference.nodes.items() if node.op == "Conv2D"
    )
    layer = thaw.KerasLayer(DIGITS, outputs=convolution)
    model = with_head(layer, wanted(layer), 7)
    assert [type(x).__name__ for x in model.layers[-2:]] == ["GlobalAveragePooling2D", "Dense"]
    assert model.output_shape == (None, 7)
