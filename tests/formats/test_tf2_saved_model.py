"""TF2 SavedModels: callables and their arguments, signatures, captures, names, tables, losses."""

import numpy as np
import pytest

from formats.sample import FOLDERS, changed, contents, ours, saved_model, values
from thaw.errors import CorruptFileError, MissingFileError, NoSignatureError, UnsafePathError
from thaw.formats import MemoryFiles, read
from thaw.formats.structure import leaves
from thaw.graph.artifact import Artifact, Function, Trace
from thaw.graph.ir import CompositeSpec, FunctionName, Graph, Node, Structure, TensorSpec

TF2 = sorted(name for name in FOLDERS if name.startswith("tf2-"))


def spec(name: str, shape: tuple[int | None, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def callable_of(model: str, name: str = "__call__") -> Function:
    return ours(model).metagraphs[0].callables[name]


def initializers(artifact: Artifact) -> list[Node]:
    """The nodes that fill tables."""
    return [g.nodes[u] for g in artifact.metagraphs[0].initializers for u in g.updates]


def constant_behind(graph: Graph, node: Node, position: int) -> list[object]:
    values: list[object] = np.asarray(graph.nodes[node.inputs[position].node].attrs["value"]).ravel().tolist()
    return values


@pytest.mark.parametrize("name", TF2)
def test_a_traces_inputs_and_outputs_are_its_structures_leaves(name: str) -> None:
    metagraph = ours(name).metagraphs[0]
    for function in [*metagraph.callables.values(), *metagraph.signatures.values()]:
        for trace in function.traces:
            given = list(leaves((trace.args, dict(trace.kwargs))))
            assert [s.dtype for s in given] == [trace.graph.nodes[t.node].attrs["dtype"] for t in trace.graph.inputs]
            assert len(list(leaves(trace.outputs))) == len(trace.graph.outputs)


@pytest.mark.parametrize("name", TF2)
def test_what_a_body_captures_is_a_node_of_it(name: str) -> None:
    artifact = ours(name)
    for function in artifact.metagraphs[0].callables.values():
        for trace in function.traces:
            inputs = {t.node for t in trace.graph.inputs}
            for node in trace.graph.nodes.values():
                assert node.op != "_Arg" or node.name in inputs
                if node.op == "VarHandleOp":
                    assert node.attrs["shared_name"] in artifact.variables


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_the_small_files_are_enough_to_read_it_again(name: str) -> None:
    first = ours(name)
    again = read(MemoryFiles(first.files))
    assert not any(".data-" in n and "small" not in n for n in first.files)
    assert [(v.name, v.shape, v.dtype, v.trainable) for v in again.variables.values()] == [
        (v.name, v.shape, v.dtype, v.trainable) for v in first.variables.values()
    ]
    assert [len(m.initializers) for m in again.metagraphs] == [len(m.initializers) for m in first.metagraphs]
    for variable in again.variables.values():
        if variable.dtype == "string":
            np.testing.assert_array_equal(variable.read(), first.variables[variable.key].read())
        else:
            with pytest.raises(MissingFileError, match="the value of"):
                variable.read()


def test_K1_one_weight_trains_and_two_do_not() -> None:
    artifact = ours("tf2-half_plus_one")
    assert [(v.name, v.trainable) for v in artifact.variables.values()] == [("weight", True), ("bias", False), ("unused", False)]
    assert values(artifact)["weight"].tolist() == [[0.5]]
    losses = artifact.metagraphs[0].regularization_losses
    assert losses is not None and losses.inputs == () and len(losses.outputs) == 1
    assert artifact.metagraphs[0].regularized == (("weight",),)


def test_K13_signatures_by_name() -> None:
    signatures = ours("tf2-half_plus_one").metagraphs[0].signatures
    assert sorted(signatures) == ["other", "serving_default"]
    trace = signatures["other"].traces[0]
    assert (trace.args, dict(trace.kwargs), trace.outputs) == ((), {"x": spec("x", (None, 1))}, {"y": spec("y", (None, 1))})
    assert signatures["other"].method == "tensorflow/serving/predict"


def test_training_and_inference_are_two_traces_of_one_callable() -> None:
    traces = callable_of("tf2-batch_norm").traces
    assert [t.args[1] for t in traces] == [True, False]

    def assigned(trace: Trace) -> list[str]:
        return [n for n in trace.graph.updates if trace.graph.nodes[n].op == "AssignVariableOp"]

    assert [len(assigned(t)) for t in traces] == [2, 0]


def test_K6_K10_parameters_defaults_and_flags() -> None:
    function = callable_of("tf2-structures", "arguments")
    assert [(p.name, p.default, p.has_default, p.keyword_only) for p in function.parameters] == [
        ("x", None, False, False),
        ("a", 10.0, True, False),
        ("b", 2.0, True, False),
        ("return_dict", False, True, False),
    ]
    by_flag = {t.args[3]: t.outputs for t in function.traces if t.args[1] == 10.0}
    assert by_flag == {False: spec("output_0", (2, 1)), True: {"x": spec("x", (2, 1)), "y": spec("y", (2, 1))}}
    fed = [t for t in function.traces if isinstance(t.args[1], TensorSpec)]
    assert len(fed[0].graph.inputs) == 2


def test_nested_arguments_keyword_only_constants_and_nested_outputs() -> None:
    function = callable_of("tf2-structures")
    assert [(p.name, p.keyword_only) for p in function.parameters] == [
        ("pair", False),
        ("scale", True),
        ("mode", True),
        ("flag", True),
    ]
    trace = function.traces[0]
    assert trace.kwargs == {"flag": True, "mode": "plain", "scale": 2.0}
    right: Structure = [spec("pair_right_0", (1,)), spec("pair_right_1", (1,))]
    assert trace.args == ({"left": spec("pair_left", (1,)), "right": right},)
    assert isinstance(trace.outputs, dict) and list(trace.outputs) == ["a", "b", "none"]
    assert trace.outputs["none"] is None
    assert [t.node for t in trace.graph.outputs] == [f"Identity{s}" for s in ("", "_1", "_2", "_3", "_4")]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("ragged", ["words/values", "words/row_splits_0"]), ("sparse", ["x/indices", "x/values", "x/shape"])],
)
def test_N8_composites_travel_as_their_components(name: str, parts: list[str]) -> None:
    trace = callable_of("tf2-structures", name).traces[0]
    composite = trace.args[0]
    assert isinstance(composite, CompositeSpec)
    assert composite.kind == name
    assert [p.name for p in composite.components] == parts
    assert len(trace.graph.inputs) == len(parts)
    assert isinstance(trace.outputs, dict)
    twice = trace.outputs["twice"]
    assert isinstance(twice, CompositeSpec) and twice.kind == name


def test_N7_K5_tables_assets_and_their_initializers() -> None:
    artifact = ours("tf2-tables")
    metagraph = artifact.metagraphs[0]
    assert metagraph.assets == ("words.txt",)
    assert artifact.files["assets/words.txt"] == b"apple\nbanana\ncherry\n"
    tables = {n.attrs["shared_name"] for n in callable_of("tf2-tables").traces[0].graph.nodes.values() if "HashTable" in n.op}
    assert len(tables) == 3
    filled = initializers(artifact)
    assert sorted(n.op for n in filled) == ["InitializeTableFromTextFileV2", "LookupTableImportV2", "LookupTableImportV2"]
    for graph, node in zip(metagraph.initializers, filled, strict=True):
        assert graph.nodes[node.inputs[0].node].attrs["shared_name"] in tables
        if node.op == "InitializeTableFromTextFileV2":
            assert constant_behind(graph, node, 1) == [b"assets/words.txt"]
    path = callable_of("tf2-tables", "path").traces[0].graph
    assert any(
        n.op == "Const" and np.asarray(n.attrs["value"]).ravel().tolist() == [b"assets/words.txt"] for n in path.nodes.values()
    )


def test_a_mutable_table_is_filled_from_the_checkpoint() -> None:
    graph = ours("tf2-tables").metagraphs[0].initializers[-1]
    node = graph.nodes["import"]
    keys, numbers = constant_behind(graph, node, 1), constant_behind(graph, node, 2)
    assert dict(zip(keys, numbers, strict=True)) == {b"apple": 7, b"zebra": 8}
    assert (node.attrs["Tin"], node.attrs["Tout"]) == ("string", "int64")


def test_repeated_names_are_numbered_and_kept_apart() -> None:
    read_values = values(ours("tf2-names"))
    assert [n for n in read_values if n.startswith("kernel")] == ["kernel", "kernel#2", "kernel#3"]
    assert [read_values[n].item() for n in ("kernel", "kernel#2", "kernel#3")] == [1.0, 2.0, 3.0]


def test_a_variable_without_a_name_goes_by_its_place() -> None:
    proto = saved_model(FOLDERS["tf2-batch_norm"])
    for node in proto.meta_graphs[0].object_graph_def.nodes:
        if node.WhichOneof("kind") == "variable" and node.variable.name == "norm/beta":
            node.variable.name = ""
    names = list(read(changed(FOLDERS["tf2-batch_norm"], proto)).variables)
    assert names == ["norm/gamma", "beta", "norm/moving_mean", "norm/moving_variance"]


def test_variables_of_a_mirrored_model_are_those_of_one_replica() -> None:
    assert {n: v.tolist() for n, v in values(ours("tf2-mirrored")).items()} == {"weight": [[0.5]], "bias": [1.0], "unused": 7}


def test_a_keras_saved_model() -> None:
    artifact = ours("tf2-keras2")
    names = ["conv/kernel", "norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"]
    assert list(artifact.variables) == [*names, "head/kernel", "head/bias", "tail/kernel", "tail/bias"]
    assert [v.name for v in artifact.variables.values() if not v.trainable] == names[3:]
    traces = callable_of("tf2-keras2").traces
    assert [t.args[1] for t in traces] == [True, False]
    assert [p.name for p in callable_of("tf2-keras2").parameters] == ["inputs", "training", "mask"]
    assert artifact.metagraphs[0].regularized == (("head/kernel",),)
    assert "keras_metadata.pb" in artifact.files


def test_a_keras_3_export() -> None:
    artifact = ours("tf2-keras3")
    assert list(artifact.metagraphs[0].callables) == ["serve"]
    assert sorted(v.name for v in artifact.variables.values() if v.trainable)[:2] == ["conv/kernel", "head/bias"]
    assert not artifact.variables["norm/moving_mean"].trainable


def test_functions_of_the_library_are_converted_once() -> None:
    metagraph = ours("tf2-keras2").metagraphs[0]
    called = [n.attrs["f"] for n in callable_of("tf2-keras2").traces[0].graph.nodes.values() if "f" in n.attrs]
    for function in called:
        assert isinstance(function, FunctionName)
        assert metagraph.library[function.name] is metagraph.library[function.name]


# Bad input.


def test_a_missing_asset_is_missed_by_who_reads_it() -> None:
    short = changed(FOLDERS["tf2-tables"], assets__words_txt=None)
    assert "words.txt" in read(short).metagraphs[0].assets  # tests/lowering/test_tables.py: its table says so


@pytest.mark.parametrize("name", ["../words.txt", "/etc/passwd", "a/../../b", "c:\\x", ""])
def test_N7_an_asset_outside_its_folder_is_refused(name: str) -> None:
    proto = saved_model(FOLDERS["tf2-tables"])
    proto.meta_graphs[0].asset_file_def[0].filename = name
    with pytest.raises(UnsafePathError, match="leaves its folder"):
        read(changed(FOLDERS["tf2-tables"], proto))


def test_variables_that_are_not_there_are_named() -> None:
    with pytest.raises(MissingFileError, match=r"variables/variables\.index"):
        read(changed(FOLDERS["tf2-half_plus_one"], variables__variables_index=None))


def test_a_truncated_graph_is_refused() -> None:
    files = contents(FOLDERS["tf2-half_plus_one"])
    for size in (1, 100, len(files["saved_model.pb"]) - 1):
        with pytest.raises(CorruptFileError):
            read(MemoryFiles(files | {"saved_model.pb": files["saved_model.pb"][:size]}))


def test_an_empty_graph_is_refused() -> None:
    with pytest.raises(CorruptFileError, match="holds no graph"):
        read(MemoryFiles({"saved_model.pb": b""}))


def test_N15_nothing_to_call_is_refused() -> None:
    proto = saved_model(FOLDERS["tf2-half_plus_one"])
    root = proto.meta_graphs[0].object_graph_def.nodes[0]
    kept = [c for c in root.children if c.local_name not in {"__call__", "signatures"}]
    del root.children[:]
    root.children.extend(kept)
    with pytest.raises(NoSignatureError, match="nothing that could be called"):
        read(changed(FOLDERS["tf2-half_plus_one"], proto))


def test_cycles_in_the_object_graph_do_no_harm() -> None:
    proto = saved_model(FOLDERS["tf2-keras2"])
    for node in proto.meta_graphs[0].object_graph_def.nodes:
        node.children.add(node_id=0, local_name="root")
    assert read(changed(FOLDERS["tf2-keras2"], proto)).variables


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("child", "refers to node 999 of"),
        ("capture", "refers to node 999 of"),
        ("captures", "captures 9 objects"),
        ("function", "which its library lacks"),
        ("description", "which it does not describe"),
        ("shape", "in the graph"),
        ("dtype", "in the graph"),
        ("output", "which is no output of one of its nodes"),
        ("returns", "but its signature says"),
    ],
)
def test_an_object_graph_that_does_not_fit_is_refused(change: str, message: str) -> None:
    proto = saved_model(FOLDERS["tf2-half_plus_one"])
    metagraph = proto.meta_graphs[0]
    graph = metagraph.object_graph_def
    name = next(
        n.function.concrete_functions[0]
        for n in graph.nodes
        if n.WhichOneof("kind") == "function" and "call" in n.function.concrete_functions[0]
    )
    body = next(f for f in metagraph.graph_def.library.function if f.signature.name == name)
    variable = next(n.variable for n in graph.nodes if n.WhichOneof("kind") == "variable")
    if change == "child":
        graph.nodes[0].children.add(node_id=999, local_name="another")
    elif change == "capture":
        graph.concrete_functions[name].bound_inputs[0] = 999
    elif change == "captures":
        graph.concrete_functions[name].bound_inputs[:] = [1] * 9
    elif change == "function":
        body.signature.name = "another"
    elif change == "description":
        del graph.concrete_functions[name]
    elif change == "shape":
        variable.shape.dim.add(size=7)
    elif change == "dtype":
        variable.dtype = 3
    elif change == "output":
        body.ret[body.signature.output_arg[0].name] = "nowhere:z:0"
    else:
        for concrete in graph.concrete_functions.values():
            concrete.output_signature.ClearField("kind")
    with pytest.raises(CorruptFileError, match=message):
        read(changed(FOLDERS["tf2-half_plus_one"], proto))


def test_a_function_of_unknown_types_is_left_out_and_said_so() -> None:
    proto = saved_model(FOLDERS["tf2-structures"])
    for name, concrete in proto.meta_graphs[0].object_graph_def.concrete_functions.items():
        if "sparse" in name:
            arguments = concrete.canonicalized_input_signature.tuple_value.values[0].tuple_value
            arguments.values[0].type_spec_value.type_spec_class = 11
            arguments.values[0].type_spec_value.num_flat_components = 0
    artifact = read(changed(FOLDERS["tf2-structures"], proto))
    assert sorted(artifact.metagraphs[0].callables) == ["__call__", "arguments", "ragged"]
    assert "sparse" in artifact.provenance["left_out"]


def test_structures_nested_too_deep_are_refused() -> None:
    proto = saved_model(FOLDERS["tf2-structures"])
    concrete = next(iter(proto.meta_graphs[0].object_graph_def.concrete_functions.values()))
    inner = concrete.output_signature
    inner.ClearField("kind")
    for _ in range(60):
        inner = inner.list_value.values.add()
    with pytest.raises(CorruptFileError, match="do not parse"):
        read(changed(FOLDERS["tf2-structures"], proto))
