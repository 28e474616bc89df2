"""Small graphs that take strings, as publishers' text models do: built by hand, so that no file is needed."""

import keras
import numpy as np

from lowering.cases.text import i, one, s
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.run import Context, Plan, Resources

WORDS = ["the", "movie", "was", "good", "bad", "é", "日本"]
DIM = 4


class Builder:
    """Nodes by name, each after its inputs."""

    def __init__(self):
        self.nodes = {}

    def add(self, name, op, *inputs, **attrs):
        places = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
        self.nodes[name] = Node(name, op, places, attrs=attrs)
        return name

    def const(self, name, value):
        return self.add(name, "Const", value=np.asarray(value) if not isinstance(value, np.ndarray) else value)

    def graph(self, inputs, *outputs):
        outputs = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in outputs)
        return Graph("text", self.nodes, tuple(Tensor(n) for n in inputs), outputs)


def resources(words=WORDS):
    """A table of `words`, filled from a vocabulary file, and an embedding with a row more for unknown ones."""
    table = np.random.default_rng(3).standard_normal((len(words) + 1, DIM)).astype("float32")
    found = Resources({"embeddings": keras.Variable(table, name="embeddings")}, {}, {"assets/v.txt": "\n".join(words).encode()})
    build = Builder()
    build.add("t", "HashTableV2", key_dtype="string", value_dtype="int64", shared_name="t")
    build.const("path", one("assets/v.txt"))
    build.add("init", "InitializeTableFromTextFileV2", "t", "path", key_index=-2, value_index=-1)
    Plan(Graph("init", build.nodes, (), (), ("init",)), {}).run(Context(found), [])
    return found


def look_up(build, tokens):
    build.add("t", "HashTableV2", key_dtype="string", value_dtype="int64", shared_name="t")
    build.const("unknown", np.array(len(WORDS)))
    build.add("ids", "LookupTableFindV2", "t", tokens, "unknown", Tin="string", Tout="int64")
    build.add("E", "VarHandleOp", shared_name="embeddings", dtype="float32", shape=(len(WORDS) + 1, DIM))


def sparse_mean():
    """As NNLM: words, ids, the distinct ones gathered, summed over each text."""
    build = Builder()
    build.add("x", "Placeholder", dtype="string", shape=(None,))
    build.add("lower", "StringLower", "x")
    build.const("space", one(" "))
    build.add("split", "StringSplit", "lower", "space")
    look_up(build, Tensor("split", 1))
    build.add("unique", "Unique", "ids", T="int64")
    build.add("rows", "ResourceGather", "E", "unique", dtype="float32", Tindices="int64")
    build.const("begin", i(0, 0))
    build.const("end", i(0, 1))
    build.const("one", i(1, 1))
    build.add("row", "StridedSlice", "split", "begin", "end", "one", begin_mask=1, end_mask=1, shrink_axis_mask=2)
    build.add("segments", "Cast", "row", SrcT="int64", DstT="int32")
    build.add("y", "SparseSegmentSqrtN", "rows", Tensor("unique", 1), "segments")
    return build.graph(["x"], "y")


def padded_tokens():
    """As ELMo: a matrix of words filled up with empty ones, embedded; and the length of each text."""
    build = Builder()
    build.add("x", "Placeholder", dtype="string", shape=(None,))
    build.const("space", one(" "))
    build.add("split", "StringSplit", "x", "space")
    build.const("nothing", one(""))
    build.add("dense", "SparseToDense", "split", Tensor("split", 2), Tensor("split", 1), "nothing", T="string")
    build.add("there", "NotEqual", "dense", "nothing", T="string")
    build.add("mask", "Cast", "there", SrcT="bool", DstT="float32")
    look_up(build, "dense")
    build.add("rows", "ResourceGather", "E", "ids", dtype="float32", Tindices="int64")
    build.const("last", i(-1)[0])
    build.add("wide", "ExpandDims", "mask", "last")
    build.add("kept", "Mul", "rows", "wide")
    build.const("tokens", i(1))
    build.add("total", "Sum", "kept", "tokens")
    return build.graph(["x"], "total", "kept")


def columns():
    """As tabular models: a category by a table, a number from text, a number, side by side."""
    build = Builder()
    build.add("kind", "Placeholder", dtype="string", shape=(None, 1))
    build.add("age", "Placeholder", dtype="string", shape=(None,))
    build.add("size", "Placeholder", dtype="float32", shape=(None, 1))
    look_up(build, "kind")
    build.add("rows", "ResourceGather", "E", "ids", dtype="float32", Tindices="int64")
    build.const("flat", i(-1, DIM))
    build.add("embedded", "Reshape", "rows", "flat")
    build.add("number", "StringToNumber", "age", out_type="float32")
    build.const("last", i(-1)[0])
    build.add("column", "ExpandDims", "number", "last")
    build.add("y", "ConcatV2", "embedded", "column", "size", "last", N=3)
    return build.graph(["kind", "age", "size"], "y")


TEXTS = s("the movie was good", "The MOVIE", "", "nobody knows 日本 é", " good  bad ", "the the the the the the the bad")
