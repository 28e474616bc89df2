"""How loading grows: time and memory of `thaw.KerasLayer(path)` against the number of nodes, and the size of the weights.

    python benchmarks/scale.py [--nodes N ...] [--weights GIB ...] [--backend jax torch tensorflow] [--write]

Makes synthetic SavedModels of TensorFlow 1 in a temporary folder, one at a time, without TensorFlow: a chain of elementwise
nodes with one weight, or few nodes with weights of 64 MiB each. Every measurement is a process of its own. Time is the
process's own time; memory is the growth of the peak of resident pages over a process that has imported the same things.
`--write` puts table and plot into docs/ (scale.svg, and between the marks of performance.md).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parent.parent / "docs"
MARKS = ("<!-- scale: written by benchmarks/scale.py --write -->", "<!-- end of scale -->")
SIDE = 4096  # of a square float32 weight: 64 MiB
DATA = "variables/variables.data-00000-of-00001"


def publish(folder, nodes, weights):
    """A SavedModel with about `nodes` nodes and `weights` square weights, as TensorFlow 1 wrote them."""
    from thaw.formats.table import crc32c, masked, write_table
    from thaw.wire.dtypes import NUMBERS
    from thaw.wire.protos import new

    def node(name, op, *inputs, **attrs):
        return new("NodeDef", name=name, op=op, input=list(inputs), attr=attrs)

    def shape(*sizes):
        return new("TensorShapeProto", dim=[new("TensorShapeDim", size=n) for n in sizes])

    floats = new("AttrValue", type=NUMBERS["float32"])
    graph = [node("x", "Placeholder", dtype=floats, shape=new("AttrValue", shape=shape(-1, SIDE)))]
    definitions, header = [], new("BundleHeaderProto", num_shards=1)
    header.version.producer = 1
    entries, last = {b"": header.SerializeToString()}, "x"
    (folder / "variables").mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / DATA).open("wb") as data:
        for i in range(weights):
            name = f"dense_{i}/kernel"
            value = new("AttrValue", shape=shape(SIDE, SIDE))
            graph += [node(name, "VariableV2", dtype=floats, shape=value), node(f"{name}/read", "Identity", name, T=floats)]
            graph += [node(f"dense_{i}/MatMul", "MatMul", last, f"{name}/read", T=floats)]
            last = f"dense_{i}/MatMul"
            definitions.append(new("VariableDef", variable_name=f"{name}:0", snapshot_name=f"{name}/read:0", trainable=True))
            raw = rng.random((SIDE, SIDE), "float32").tobytes()
            entry = new("BundleEntryProto", dtype=1, offset=data.tell(), size=len(raw), crc32c=masked(crc32c(raw)))
            entry.shape.CopyFrom(shape(SIDE, SIDE))
            entries[name.encode()] = entry.SerializeToString()
            data.write(raw)
    for i in range(nodes // 2):
        graph += [node(f"b{i // 50}/n{i}/Tanh", "Tanh", last, T=floats)]
        graph += [node(f"b{i // 50}/n{i}/add", "AddV2", last, f"b{i // 50}/n{i}/Tanh", T=floats)]
        last = f"b{i // 50}/n{i}/add"
    meta = new("MetaGraphDef", graph_def=new("GraphDef", node=graph, versions=new("VersionDef", producer=134)))
    meta.meta_info_def.tags.append("serve")
    for collection in ("variables", "trainable_variables"):
        meta.collection_def[collection].bytes_list.value.extend(d.SerializeToString() for d in definitions)
    signature = meta.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for key, name, found in (("x", "x:0", signature.inputs), ("y", f"{last}:0", signature.outputs)):
        found[key].name, found[key].dtype = name, 1
        found[key].tensor_shape.CopyFrom(shape(-1, SIDE))
    (folder / "variables/variables.index").write_bytes(write_table(entries))
    model = new("SavedModel", saved_model_schema_version=1, meta_graphs=[meta])
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


def resident(field):
    """MiB: VmHWM is the peak, VmRSS what is resident now."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def load(folder):
    """In a process of its own: seconds and MiB of one load, as JSON."""
    import keras

    import thaw
    from thaw.lowering import table  # noqa: F401  imported by the first load, and not what grows

    keras.Variable(np.zeros(2, "float32"))  # the backend has started
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.process_time()
    layer = thaw.KerasLayer(folder, signature="serving_default", output_key="y", trainable=True)
    if keras.backend.backend() == "jax":  # which copies while Python goes on
        import jax

        jax.block_until_ready([v.value for v in layer.weights])
    seconds = time.process_time() - start
    size = sum(np.prod(v.shape) * 4 for v in layer.weights) / 2**20
    print(json.dumps({"seconds": seconds, "memory": resident("VmHWM") - before, "size": float(size)}))


def measured(nodes, weights, backends):
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder) / "model", nodes, weights)
        for backend in backends:
            command = [sys.executable, __file__, "--load", str(Path(folder) / "model")]
            environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            row = {"backend": backend, "nodes": nodes, "weights": weights, **json.loads(answer.stdout.splitlines()[-1])}
            print(f"{backend:10} {nodes:7,} nodes {row['size']:7,.0f} MiB of weights: {row['seconds']:6.2f} s, ", end="")
            print(f"{row['memory']:,.0f} MiB more", flush=True)
            yield row


def plot(rows, file):
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "thaw"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    panels = (
        ("nodes", "nodes", "seconds", "seconds", False),
        ("size", "GiB of weights", "seconds", "seconds", True),
        ("size", "GiB of weights", "memory", "GiB at most", True),
    )
    for ax, (x, x_label, y, y_label, heavy) in zip(axes, panels, strict=True):
        for backend in sorted({r["backend"] for r in rows}):
            chosen = sorted((r for r in rows if r["backend"] == backend and (r["weights"] > 1) == heavy), key=lambda r: r[x])
            scale = {"nodes": 1, "seconds": 1}
            ax.plot([r[x] / scale.get(x, 1024) for r in chosen], [r[y] / scale.get(y, 1024) for r in chosen], "o-", label=backend)
        if y == "memory":
            top = ax.get_xlim()[1]
            ax.plot([0, top], [0, 1.15 * top], "k:", label="1.15 x the weights")
        ax.set(xlabel=x_label, ylabel=y_label, xlim=(0, None), ylim=(0, None))
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(file, metadata={"Date": None})


def render(rows):
    lines = ["| backend | nodes | weights | load | peak memory over the weights |", "|---|---|---|---|---|"]
    for r in sorted(rows, key=lambda r: (r["backend"], r["weights"], r["nodes"])):
        share = f"{r['memory'] / r['size']:.2f}x" if r["weights"] > 1 else f"{r['memory']:,.0f} MiB in all"
        lines.append(f"| {r['backend']} | {r['nodes']:,} | {r['size'] / 1024:.2f} GiB | {r['seconds']:.2f} s | {share} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="*", default=[12_500, 25_000, 50_000, 100_000, 200_000])
    parser.add_argument("--weights", type=float, nargs="*", default=[0.5, 1, 2, 4], metavar="GIB")
    parser.add_argument("--backend", nargs="+", default=["jax", "torch", "tensorflow"])
    parser.add_argument("--write", action="store_true", help="into docs/performance.md and docs/scale.svg")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        return load(options.load)
    cases = [(n, 1) for n in options.nodes] + [(100, round(g * 1024 / 64)) for g in options.weights]
    rows = [row for nodes, weights in cases for row in measured(nodes, weights, options.backend)]
    if options.write:
        page = DOCS / "performance.md"
        before, rest = page.read_text().split(MARKS[0])
        page.write_text(f"{before}{MARKS[0]}\n\n{render(rows)}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
        plot(rows, DOCS / "scale.svg")
    return None


if __name__ == "__main__":
    main()
