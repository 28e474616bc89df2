"""TF1 Hub modules and plain TF1 SavedModels: tag sets, collections, every kind of variable, tables, attachments."""

import numpy as np
import pytest

from formats.sample import FOLDERS, changed, contents, expected, ours, saved_model, values
from thaw.errors import CorruptFileError, MissingFileError, NoSignatureError, UnsafePathError, UnsupportedModuleError
from thaw.formats import MemoryFiles, read
from thaw.formats.v1_variables import parsed_slice
from thaw.graph.artifact import MetaGraph, Trace
from thaw.graph.ir import CompositeSpec, TensorSpec
from thaw.wire.protos import new

TF1 = sorted(name for name in FOLDERS if name.startswith("tf1-"))


def by_tags(name: str, *tags: str) -> MetaGraph:
    return next(m for m in ours(name).metagraphs if m.tags == frozenset(tags))


def trace(name: str, signature: str = "default", *tags: str) -> Trace:
    return by_tags(name, *tags).signatures[signature].traces[0]


@pytest.mark.parametrize("name", TF1)
def test_signatures_are_what_TensorFlow_was_asked_for(name: str) -> None:
    for row in expected(FOLDERS[name]):
        found = trace(name, row["signature"], *row["tags"])
        assert sorted(found.kwargs) == sorted(row["inputs"])
        assert isinstance(found.outputs, dict) and sorted(found.outputs) == sorted(row["outputs"])
        tensors = [*found.graph.inputs, *found.graph.outputs]
        assert all(t.node in found.graph.nodes for t in tensors)


@pytest.mark.parametrize("name", TF1)
def test_every_variable_is_read_and_has_its_node(name: str) -> None:
    artifact = ours(name)
    for key, variable in artifact.variables.items():
        assert variable.read().shape == variable.shape
        for metagraph in artifact.metagraphs:
            graph = next(iter(metagraph.signatures.values())).traces[0].graph
            node = graph.nodes[variable.name]
            assert (node.op in {"VarHandleOp", "VariableV2"}, node.attrs["shared_name"]) == (True, key)


def test_K14_N2_two_tag_sets_share_their_variables() -> None:
    artifact = ours("tf1-batch_norm")
    assert [m.tags for m in artifact.metagraphs] == [frozenset(), frozenset({"train"})]
    assert [(v.name, v.trainable) for v in artifact.variables.values()] == [
        ("batch_norm/gamma", True),
        ("batch_norm/beta", True),
        ("batch_norm/moving_mean", False),
        ("batch_norm/moving_variance", False),
    ]


def test_N1_update_ops_are_those_of_the_training_variant() -> None:
    train = by_tags("tf1-batch_norm", "train")
    assert by_tags("tf1-batch_norm").update_ops == ()
    graph = train.signatures["default"].traces[0].graph
    assert [graph.nodes[n].op for n in train.update_ops] == ["AssignSubVariableOp", "AssignSubVariableOp"]
    counter = by_tags("tf1-counter", "train")
    assert [counter.signatures["default"].traces[0].graph.nodes[n].op for n in counter.update_ops] == ["AssignAddVariableOp"]


def test_N3_regularization_losses_and_what_each_reads() -> None:
    for tags in ((), ("train",)):
        metagraph = by_tags("tf1-counter", *tags)
        assert metagraph.regularization_losses is not None
        assert len(metagraph.regularization_losses.outputs) == 2
        assert metagraph.regularization_losses.inputs == ()
        assert metagraph.regularized == (("M",), ("b",))
    assert by_tags("tf1-half_plus_two").regularization_losses is None


@pytest.mark.parametrize("name", ["tf1-half_plus_two", "tf1-ref_half_plus_two"])
def test_N6_resource_and_reference_variables_read_alike(name: str) -> None:
    artifact = ours(name)
    assert {n: v.item() for n, v in values(artifact).items()} == {"a": 0.5, "b": 2.0}
    assert {v.dtype for v in artifact.variables.values()} == {"float32"}


def test_N6_variables_inside_loops_and_conditionals_stay_in_the_graph() -> None:
    nodes = trace("tf1-control_flow").graph.nodes
    assert {nodes["ref"].op, nodes["resource"].op} == {"VariableV2", "VarHandleOp"}
    ops = {n.op for n in nodes.values()}
    assert {"Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond"} <= ops or {"RefEnter", "RefSwitch"} & ops


def test_N7_assets_of_one_basename_and_their_tables() -> None:
    artifact = ours("tf1-tables")
    metagraph = artifact.metagraphs[0]
    contents_by_name = {name: artifact.files[f"assets/{name}"] for name in metagraph.assets}
    assert sorted(contents_by_name.values()) == [b"eins\nzwei\ndrei\n", b"one\ntwo\n", b"one\ntwo\n"]
    assert len(contents_by_name) == 3
    filled = [(g, g.nodes[u]) for g in metagraph.initializers for u in g.updates]
    assert sorted(n.op for _, n in filled) == ["InitializeTableFromTextFileV2"] * 3 + ["LookupTableImportV2"]
    paths = set()
    tables = set()
    for graph, node in filled:
        tables.add(graph.nodes[node.inputs[0].node].attrs["shared_name"])
        if node.op == "InitializeTableFromTextFileV2":
            paths.add(np.asarray(graph.nodes[node.inputs[1].node].attrs["value"]).item().decode())
    assert paths == {f"assets/{name}" for name in metagraph.assets}
    assert len(tables) == 4


def test_N8_a_sparse_input_and_output() -> None:
    found = trace("tf1-sparse")
    assert isinstance(found.kwargs["x"], CompositeSpec)
    assert [t.node for t in found.graph.inputs] == ["x/indices", "x/values", "x/shape"]
    assert isinstance(found.outputs, dict) and isinstance(found.outputs["square"], CompositeSpec)
    assert [t.node for t in found.graph.outputs] == ["SparseReduceSum", "x/indices", "pow", "x/shape"]


def test_N9_N10_several_signatures_and_outputs() -> None:
    assert sorted(by_tags("tf1-image").signatures) == ["default", "image_feature_vector"]
    outputs = trace("tf1-image", "image_feature_vector").outputs
    assert outputs == {"default": TensorSpec("default", "float32", (None, 3)), "sum": TensorSpec("sum", "float32", (None,))}


def test_N11_attached_messages_are_each_variants_own() -> None:
    sizes = {tuple(m.tags): m.attachments["image_module_info"] for m in ours("tf1-image").metagraphs}
    assert sizes == {(): b"\n\x04\x08\x08\x10\x08", ("train",): b"\n\x04\x08\x0c\x10\x0c"}  # 8 x 8, 12 x 12


def test_a_plain_saved_model_with_renamed_variables() -> None:
    artifact = ours("tf1-renamed")
    assert artifact.format == "tf1_saved_model"
    read_values = values(artifact)
    assert list(read_values) == ["net/weights", "net/bias", "net/columns/part_0", "net/columns/part_1"]  # no Adam slots
    answer = expected(FOLDERS["tf1-renamed"])[0]["outputs"]
    columns = np.concatenate([read_values["net/columns/part_0"], read_values["net/columns/part_1"]], axis=1)
    np.testing.assert_allclose(columns, answer["columns"], rtol=1e-6)
    y = np.ones([2, 4]) @ read_values["net/weights"] + read_values["net/bias"]
    np.testing.assert_allclose(y, answer["y"], rtol=1e-5)
    assert [g.nodes[u].op for g in artifact.metagraphs[0].initializers for u in g.updates] == ["InitializeTableFromTextFileV2"]
    assert artifact.metagraphs[0].signatures["serving_default"].method == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("text", "answer"),
    [("", ((), ())), ("10 20 0,5:3,20", ((0, 3), (5, 20))), ("4 5 -:1,2", ((0, 1), (4, 2)))],
    ids=["whole", "part", "whole-axis"],
)
def test_a_savers_slices(text: str, answer: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    assert parsed_slice(text, "test") == answer


@pytest.mark.parametrize("text", ["10", "a b", "10 0,5:1,2", "10 x,y"])
def test_a_savers_slice_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CorruptFileError, match="of a saver is not of the form"):
        parsed_slice(text, "test")


# Bad input.


def with_module(**fields: object) -> MemoryFiles:
    return changed(FOLDERS["tf1-half_plus_two"], tfhub_module_pb=new("ModuleDef", **fields).SerializeToString())


def test_N13_an_unknown_format_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"a module format that thaw does not know: 7"):
        read(with_module(format=7))


def test_N13_required_features_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedModuleError, match="'time_travel'"):
        read(with_module(format=3, required_features=["time_travel"]))


def test_N14_unknown_collections_are_refused_by_name() -> None:
    proto = saved_model(FOLDERS["tf1-half_plus_two"])
    for name in ("local_variables", "my_own"):
        proto.meta_graphs[0].collection_def[name].node_list.value.append("x:0")
    with pytest.raises(UnsupportedModuleError, match="'local_variables', 'my_own'"):
        read(changed(FOLDERS["tf1-half_plus_two"], proto))


def test_N14_a_plain_saved_model_may_have_any_collection() -> None:
    proto = saved_model(FOLDERS["tf1-renamed"])
    proto.meta_graphs[0].collection_def["my_own"].node_list.value.append("x:0")
    assert read(changed(FOLDERS["tf1-renamed"], proto)).metagraphs


def test_N15_a_module_with_nothing_to_call_is_refused() -> None:
    proto = saved_model(FOLDERS["tf1-half_plus_two"])
    proto.meta_graphs[0].signature_def.clear()
    with pytest.raises(NoSignatureError):
        read(changed(FOLDERS["tf1-half_plus_two"], proto))


def test_N15_a_plain_saved_model_that_computes_nothing_is_refused() -> None:
    proto = saved_model(FOLDERS["tf1-renamed"])
    proto.meta_graphs[0].signature_def.clear()
    for node in proto.meta_graphs[0].graph_def.node:
        node.op = "OfNoKnownKind" if node.op == "Placeholder" else node.op
    with pytest.raises(NoSignatureError, match="Expected at least one"):
        read(changed(FOLDERS["tf1-renamed"], proto))


def test_a_missing_asset_is_missed_by_who_reads_it() -> None:
    whole, short = ours("tf1-tables"), read(changed(FOLDERS["tf1-tables"], assets__vocabulary_txt0=None))
    assert len(whole.files) - len(short.files) == 1
    assert short.metagraphs[0].assets == whole.metagraphs[0].assets  # tests/lowering/test_tables.py: its table says so


def test_tables_that_functions_make_and_fill_are_filled() -> None:
    proto = saved_model(FOLDERS["tf1-tables"])
    graph = proto.meta_graphs[0].graph_def
    inner = [n for n in graph.node if n.op.startswith("InitializeTable")]
    kept = {f"{n.op}": n.name for n in inner}
    for number, node in enumerate(inner):
        names = [f"in{i}" for i in range(len(node.input))]
        body = new("NodeDef", name="fill", op=node.op, input=names)
        for key in node.attr:
            body.attr[key].CopyFrom(node.attr[key])
        signature = new("OpDef", name=f"fill_{number}", input_arg=[new("ArgDef", name=name) for name in names])
        graph.library.function.append(new("FunctionDef", signature=signature, node_def=[body]))
        node.op = "StatefulPartitionedCall"
        node.attr.clear()
        node.attr["f"].func.name = f"fill_{number}"
    metagraph = read(changed(FOLDERS["tf1-tables"], proto)).metagraphs[0]
    filled = {u for g in metagraph.initializers for u in g.updates}
    assert kept and filled >= {n.name for n in inner}
    assert filled == {u for g in ours("tf1-tables").metagraphs[0].initializers for u in g.updates}


def test_N7_an_asset_outside_its_folder_is_refused() -> None:
    proto = saved_model(FOLDERS["tf1-tables"])
    proto.meta_graphs[0].asset_file_def.add(filename="../../secret").tensor_info.name = "x:0"
    with pytest.raises(UnsafePathError, match="secret"):
        read(changed(FOLDERS["tf1-tables"], proto))


def test_a_hub_module_without_its_graph_is_refused() -> None:
    with pytest.raises(MissingFileError, match=r"saved_model\.pb"):
        read(MemoryFiles({"tfhub_module.pb": b"\x08\x03"}))


def test_variables_that_are_not_there_are_named() -> None:
    files = contents(FOLDERS["tf1-half_plus_two"])
    del files["variables/variables.index"]
    with pytest.raises(MissingFileError, match=r"variables/variables\.index"):
        read(MemoryFiles(files))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no-node", "list the variable 'a', which its graph does not hold"),
        ("renamed", "it has no value for the variable"),
        ("dtype", "but int32 in the graph"),
        ("slice", "is the part"),
        ("signature", "names the tensor 'nowhere'"),
        ("index", "no index behind its colon"),
        ("loss", "regularization losses name 'nowhere'"),
        ("twice", "bear another's name"),
        ("asset", "belongs to the node 'nowhere'"),
    ],
)
def test_a_metagraph_that_does_not_fit_is_refused(change: str, message: str) -> None:
    folder = FOLDERS["tf1-half_plus_two"]
    proto = saved_model(folder)
    metagraph = proto.meta_graphs[0]
    node = next(n for n in metagraph.graph_def.node if n.name == "a")
    definition = new("VariableDef", variable_name="a:0", is_resource=True)
    signature = metagraph.signature_def["default"]
    files: dict[str, bytes | None] = {}
    if change == "no-node":
        metagraph.graph_def.node.remove(node)
    elif change == "renamed":
        node.name = "elsewhere"
        definition.variable_name = "elsewhere:0"
        metagraph.collection_def["variables"].bytes_list.value[:] = [definition.SerializeToString()]
    elif change == "dtype":
        node.attr["dtype"].type = 3
    elif change == "slice":
        definition.save_slice_info_def.full_name = "a"
        definition.save_slice_info_def.var_offset.append(3)
        definition.save_slice_info_def.var_shape.append(9)
        metagraph.collection_def["variables"].bytes_list.value[0] = definition.SerializeToString()
    elif change == "signature":
        signature.outputs["default"].name = "nowhere:0"
    elif change == "index":
        signature.outputs["default"].name = "add:zero"
    elif change == "loss":
        metagraph.collection_def["regularization_losses"].node_list.value.append("nowhere:0")
    elif change == "twice":
        metagraph.graph_def.node.append(node)
    else:
        metagraph.asset_file_def.add(filename="x.txt").tensor_info.name = "nowhere:0"
        files["assets__x.txt"] = b"x"
    with pytest.raises(CorruptFileError, match=message):
        read(changed(folder, proto, **files))
