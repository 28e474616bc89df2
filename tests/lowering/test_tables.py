"""Lookup tables: what TensorFlow answers (recorded by hand from 2.21), sharing, and what is refused."""

import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from lowering.cases.text import i, one, s
from thaw.errors import AssetMissingError, TableError
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Plan, Resources

WORDS = {"key_dtype": "string", "value_dtype": "int64"}


def table(resources, op="HashTableV2", name="words", **attrs):
    context = Context(resources)
    context.node = Node(name, op)
    return LOWERINGS[op].function(context, **(WORDS | attrs))


def call(op, *inputs, resources=None, **attrs):
    lowering = LOWERINGS[op]
    if lowering.context:
        return lowering.function(Context(resources), *inputs, **attrs)
    return lowering.function(*inputs, **attrs)


def from_file(content: bytes, resources=None, **attrs):
    resources = resources or Resources(files={"assets/vocab.txt": content})
    made = table(resources, **{k: attrs.pop(k) for k in ("key_dtype", "value_dtype") if k in attrs})
    attrs = {"key_index": -2, "value_index": -1} | attrs
    call("InitializeTableFromTextFileV2", made, one("assets/vocab.txt"), resources=resources, **attrs)
    return made


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"a\nb\nc\n", ["a", "b", "c"], id="N7-closing-newline"),
        pytest.param(b"a\nb\nc", ["a", "b", "c"], id="N7-no-closing-newline"),
        pytest.param(b"a\r\nb\r\n", ["a", "b"], id="N7-windows-lines"),
        pytest.param(b"a\rb\r\r\nc", ["a\rb\r", "c"], id="N7-carriage-returns"),
        pytest.param("é\n日本\n \n".encode(), ["é", "日本", " "], id="N7-utf8"),
    ],
)
def test_vocabulary_file(content, words):
    made = from_file(content)
    assert call("LookupTableSizeV2", made) == len(words)
    found = call("LookupTableFindV2", made, s(*words, "missing"), i(-1, dtype="int64")[0])
    assert found.tolist() == [*range(len(words)), -1] and found.dtype == np.int64


def test_columns_of_a_file():
    made = from_file(b"1\tone\n2\ttwo\n", key_index=0, value_index=1, key_dtype="int64", value_dtype="string")
    found = call("LookupTableFindV2", made, i(2, 7, 1, dtype="int64").reshape(3, 1), one("none"))
    assert found.tolist() == [[b"two"], [b"none"], [b"one"]]


def test_vocab_size_cuts_the_file():
    assert len(from_file(b"a\nb\nc\n", vocab_size=2)) == 2


def test_N7_two_nodes_of_one_shared_name_are_one_table():
    resources = Resources()
    first = table(resources, name="a", shared_name="t")
    assert table(resources, name="b", shared_name="t") is first
    assert table(resources, name="c") is not first


def test_table_in_a_graph_runs_its_initializer_once_and_is_read_by_others():
    nodes = {
        "t": Node("t", "HashTableV2", attrs=WORDS | {"shared_name": "s"}),
        "k": Node("k", "Const", attrs={"value": s("a", "b")}),
        "v": Node("v", "Const", attrs={"value": i(5, 6, dtype="int64")}),
        "init": Node("init", "InitializeTableV2", (Tensor("t"), Tensor("k"), Tensor("v"))),
        "x": Node("x", "Placeholder"),
        "d": Node("d", "Const", attrs={"value": np.array(-1)}),
        "find": Node("find", "LookupTableFindV2", (Tensor("t"), Tensor("x"), Tensor("d"))),
    }
    context = Context(Resources())
    start, use = Graph("i", nodes, (), (), ("init",)), Graph("g", nodes, (Tensor("x"),), (Tensor("find"),))
    for _ in range(2):  # the same content twice is no fault
        Plan(start, {}).run(context, [])
    assert Plan(use, {}).run(context, [s("b", "z")])[0].tolist() == [6, -1]


def test_mutable_table_inserts_replaces_removes_imports_and_exports():
    made = table(Resources(), "MutableHashTableV2")
    call("LookupTableInsertV2", made, s("a", "b", "a"), i(1, 2, 3, dtype="int64"))
    call("LookupTableInsertV2", made, s("b", "c"), i(7, 8, dtype="int64"))
    keys, values = call("LookupTableExportV2", made)
    assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == {b"a": 3, b"b": 7, b"c": 8}
    call("LookupTableRemoveV2", made, s("a", "nobody"))
    assert call("LookupTableFindV2", made, s("a", "b", "c"), np.array(0)).tolist() == [0, 7, 8]
    call("LookupTableImportV2", made, s("x"), i(1, dtype="int64"))
    assert len(made) == 1


def test_table_of_vectors_and_defaults_for_each_key():
    made = table(Resources(), "MutableHashTableOfTensorsV2", value_dtype="float32", value_shape=(2,))
    call("LookupTableInsertV2", made, s("a"), np.array([[1, 2]], "float32"))
    found = call("LookupTableFindV2", made, s("b", "a"), np.array([9, 9], "float32"))
    assert found.tolist() == [[9, 9], [1, 2]]
    plain = table(Resources(), "MutableHashTableV2")
    assert call("LookupTableFindV2", plain, s("b", "a"), i(4, 5, dtype="int64")).tolist() == [4, 5]


def test_missing_asset_is_refused():
    with pytest.raises(TableError, match=r"needs the asset 'assets/vocab.txt'"):
        from_file(b"", Resources(files={"assets/other.txt": b"a\n"}))


def test_asset_path_that_leaves_the_folder_is_refused():
    resources = Resources(files={"assets/vocab.txt": b"a\n"})
    with pytest.raises(TableError, match="needs the asset"):
        call(
            "InitializeTableFromTextFileV2",
            table(resources),
            one("/etc/passwd"),
            resources=resources,
            key_index=-2,
            value_index=-1,
        )


def test_table_initialised_twice_differently_is_refused():
    made = from_file(b"a\nb\n")
    with pytest.raises(TableError, match="initialised twice"):
        call("InitializeTableV2", made, s("a", "c"), i(0, 1, dtype="int64"))


def test_vocabulary_with_duplicate_lines_is_refused():
    with pytest.raises(TableError, match=r"1 lines twice.*b'a'"):
        from_file(b"a\nb\na\n")


@pytest.mark.parametrize("content", [b"a\n\nb\n", b"x\n\n", b""], ids=["within", "at-end", "no-line"])
def test_vocabulary_with_empty_lines_is_refused(content):
    with pytest.raises(TableError, match="empty"):
        from_file(content)


def test_vocabulary_with_missing_lines_is_refused():
    with pytest.raises(TableError, match="expects 3 lines"):
        from_file(b"a\nb\n", vocab_size=3)


def test_vocabulary_without_the_column_is_refused():
    with pytest.raises(TableError, match="reads column 1 of line 1"):
        from_file(b"a\t1\nb\n", key_index=0, value_index=1)


def test_vocabulary_with_a_word_for_a_number_is_refused():
    with pytest.raises(TableError, match="expects int64 in column 1"):
        from_file(b"a\tx\n", key_index=0, value_index=1)


def test_R10_a_graph_reads_its_own_assets_and_no_other_file():
    resources = Resources(files={"assets/vocab.txt": b"a\r\n\xff", "saved_model.pb": b""})
    assert call("ReadFile", one("assets/vocab.txt"), resources=resources).item() == b"a\r\n\xff"
    for path in ("/etc/passwd", "assets/../../secret", "assets/vocab.tx"):
        with pytest.raises(AssetMissingError, match=r"reads the file .*Expected an asset of the artifact: 'assets/vocab.txt'"):
            call("ReadFile", one(path), resources=resources)
