"""The scoreboard: for every model of a folder and every backend, what works, held against TensorFlow's recorded answers.

    python tests/corpus/score.py FOLDER [--backend jax ...] [--model NAME ...] [--json FILE] [--markdown FILE] [--timeout SECONDS]

A model is a folder with a SavedModel, TF1 Hub module, `.pb`, `.h5` or `.keras` file in it, or with a `model.tar.gz` of one
(as in shared/models), beside `card.json` and `golden.npz` where TensorFlow's answers are known. Each runs in a process of its
own, so that a crash, a hang or a leak is one row of the table. Without goldens it is read, run on made-up inputs, trained one
step, saved and loaded.

Columns: reads, runs, output (equal), gradient (equal), trains (one step moves what is selected and nothing else), saved (and
loaded, equal output), seconds, peak memory in MiB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
BACKENDS = ("jax", "torch", "tensorflow")
STAGES = ("reads", "runs", "output", "gradient", "trains", "saved")
TOLERANCE, DEEP = 1e-5, 1e-4
"""Largest difference over largest magnitude; the second for nets deeper than 50 layers, whose rounding adds up in float32."""


# One model, in this process


def artifact_of(folder: Path) -> Path:
    """The file or folder to open: the single model file where there is one, else the folder itself."""
    if (folder / "saved_model.pb").exists() or (folder / "saved_model.pbtxt").exists():
        return folder
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in {".pb", ".h5", ".hdf5", ".keras"}]
    inner = [p.parent for p in files if p.name == "saved_model.pb"]
    if inner:
        return inner[0]
    return files[0] if files else folder


def summed(array: np.ndarray) -> np.ndarray:
    """The two numbers that stand for a large array in the goldens."""
    flat = np.asarray(array, "float64").ravel()
    return np.array([np.linalg.norm(flat), flat @ np.sin(np.arange(1, flat.size + 1))])


def off(ours: np.ndarray, theirs: np.ndarray, largest: float = 0.0) -> float:
    """Largest difference over largest magnitude; infinite where shapes or finiteness differ.

    A tensor whose magnitudes are all below a thousandth of `largest` is noise (a shift before a batch normalization has the
    gradient zero): it is measured against that thousandth.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    if theirs.dtype.kind in "OSU" or ours.dtype.kind in "OSU":
        return 0.0 if np.array_equal(_bytes(ours), _bytes(theirs)) else float("inf")
    a, b = np.asarray(ours, "complex128"), np.asarray(theirs, "complex128")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not np.all(same | (np.isfinite(a) & np.isfinite(b))):
        return float("inf")
    if same.all():
        return 0.0
    scale = max(np.abs(b[np.isfinite(b)]).max(initial=0.0), largest * 1e-3, 1e-6)
    return float(np.abs(np.where(same, 0, a - b)).max() / scale)


def _bytes(array):
    return np.array([v.encode() if isinstance(v, str) else bytes(v) for v in np.asarray(array, object).ravel()], object)


class Golden:
    """TensorFlow's answers for one variant."""

    def __init__(self, arrays, variant, card):
        self.variant = variant
        self.parts = {}
        for key, value in arrays.items():
            head, kind, name = key.split("|", 2)
            if head == variant:
                if variant.endswith("/frozen"):
                    name = name.removesuffix(":0")
                self.parts.setdefault(kind, {})[name] = value
        self.stochastic = bool(card.get("variants", {}).get(variant, {}).get("stochastic"))

    def __getattr__(self, kind):
        return self.parts.get(kind.rstrip("_"), {})


def variants_of(folder: Path):
    """The goldens of a model, one a variant; empty where there are none."""
    if not (folder / "golden.npz").exists():
        return []
    card = json.loads((folder / "card.json").read_text()) if (folder / "card.json").exists() else {}
    arrays = dict(np.load(folder / "golden.npz", allow_pickle=False))
    names = dict.fromkeys(key.split("|", 1)[0] for key in arrays)
    return [Golden(arrays, name, card) for name in names]


def layer_for(path: Path, variant: str, **chosen):
    """The layer that runs a variant as named in the goldens, and whether to call it for training."""
    import thaw

    tags, _, name = variant.rpartition("/")
    if tags:
        chosen["tags"] = tags.split("+")
    if name.startswith("__call__"):
        return thaw.KerasLayer(path, **chosen), name.endswith("[training=True]")
    if name == "frozen":
        return thaw.KerasLayer(path, signature_outputs_as_dict=True, signature="frozen", lift_constants=True), False
    return thaw.KerasLayer(path, signature=name, signature_outputs_as_dict=True, **chosen), "train" in tags.split("+")


def inputs_for(layer, golden: Golden):
    """The recorded inputs as the layer takes them."""
    fed = {name: (value if value.dtype.kind not in "SU" else value.astype(object)) for name, value in golden.parts["in"].items()}
    program = layer.program
    if program.is_signature:
        return fed
    values = list(fed.values())
    first = program.bound(program.variants[0].trace)[program.parameters[0].name]
    if isinstance(first, dict):
        return fed
    return values if isinstance(first, (list, tuple)) else values[0]


def flat_outputs(layer, outputs):
    """Outputs by the goldens' names: a signature's keys, or positions in a callable's flattened result."""
    import keras

    if layer.program.is_signature and isinstance(outputs, dict):
        return outputs
    return {str(i): value for i, value in enumerate(keras.tree.flatten(outputs))}


def native_outputs(outputs):
    """Outputs of a native Keras model by position."""
    import keras

    return {str(i): value for i, value in enumerate(keras.tree.flatten(outputs))}


def as_numpy(value):
    import keras

    return value if isinstance(value, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(value))


def cotangents(outputs, golden: Golden):
    """The recorded cotangent of each float output, None for the others."""
    found = []
    for name, value in outputs.items():
        array = as_numpy(value)
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            found.append(None)
        elif name in golden.cot:
            found.append(golden.cot[name])
        else:
            seed = int(name) if name.isdigit() and "__call__" in golden.variant else zlib.crc32(name.encode())
            found.append(np.random.default_rng(seed).standard_normal(array.shape).astype(array.dtype))
    return found


def compare_outputs(outputs, golden: Golden):
    """(worst difference, what differs) over all outputs."""
    worst, where = 0.0, ""
    for name, theirs in {**golden.parts.get("out", {})}.items():
        if name not in outputs:
            return float("inf"), f"there is no output {name!r}, there are {sorted(outputs)}"
        difference = off(as_numpy(outputs[name]), theirs)
        if golden.stochastic:
            difference = 0.0 if as_numpy(outputs[name]).shape == theirs.shape else float("inf")
        if difference > worst:
            worst, where = difference, f"{name}: {difference:.1e}, shapes {as_numpy(outputs[name]).shape} and {theirs.shape}"
    for name, theirs in golden.parts.get("outsum", {}).items():
        if name not in golden.parts.get("out", {}) and not golden.stochastic:
            difference = off(summed(as_numpy(outputs[name])), theirs)
            if difference > worst:
                worst, where = difference, f"sum of {name}: {difference:.1e}"
    return worst, where


def compare_gradients(layer, inputs, training, outputs, golden: Golden):
    """(worst difference, what differs, how many compared) over all variables, after running under a stateless scope."""
    import keras

    sys.path.insert(0, str(HERE.parents[1]))
    from gradients import vjp

    wanted = {**golden.parts.get("gradsum", {})}
    if golden.stochastic or not wanted:
        return 0.0, "", 0
    variables = [(n, v) for n, v in layer.source_variables.items() if keras.backend.is_float_dtype(v.dtype)]
    after = {}

    def run(*values):
        with keras.StatelessScope(state_mapping=[(v, x) for (_, v), x in zip(variables, values, strict=True)]) as scope:
            result = flat_outputs(layer, layer(inputs, training=training))
        if keras.backend.backend() != "jax":
            for name, v in variables:
                after[name] = scope.get_current_value(v)
        return [result[name] for name in outputs]

    values = [as_numpy(v) for _, v in variables]
    try:
        _, gradients = vjp(run, values, cotangents(outputs, golden), jit=True)
    except Exception:  # what a traced step cannot do, an eager one may
        _, gradients = vjp(run, values, cotangents(outputs, golden))
    worst, where, count = 0.0, "", 0
    largest = max((np.abs(g).max(initial=0.0) for g in golden.parts.get("grad", {}).values()), default=0.0)
    for (name, _), ours in zip(variables, gradients, strict=True):
        if name not in wanted:
            continue
        count += 1
        if ours is None:
            return float("inf"), f"no gradient reaches {name}", count
        theirs = golden.parts.get("grad", {}).get(name)
        difference = off(ours, theirs, largest) if theirs is not None else off(summed(ours), wanted[name])
        if difference > worst:
            worst, where = difference, f"{name}: {difference:.1e}"
    missing = [n for n in wanted if n not in dict(variables)]
    if missing:
        return (
            float("inf"),
            f"no variables named {missing[:4]} ({len(missing)}); there are {[n for n, _ in variables][:4]}",
            count,
        )
    for name, theirs in golden.parts.get("aftersum", {}).items():
        value = after.get(name)
        if value is not None and off(summed(as_numpy(value)), theirs) > DEEP:
            return float("inf"), f"{name} after the step: {off(summed(as_numpy(value)), theirs):.1e}", count
    return worst, where, count


def trains(path, variant, golden):
    """One SGD step with everything thawed moves what has a gradient and leaves the rest alone; "" or what went wrong."""
    import keras

    layer, _ = layer_for(path, variant)
    layer._set_leaves(True, follow_advice=False)
    inputs = inputs_for(layer, golden)
    outputs = flat_outputs(layer, layer(inputs))
    floats = [n for n, v in outputs.items() if as_numpy(v).dtype.kind == "f"]
    if not floats:
        return "no float output"
    if not layer.trainable_variables:
        return "nothing to train"
    before = {n: as_numpy(v).copy() for n, v in layer.source_variables.items()}

    class Step(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def train_on(self, batch, optimizer):
            values = list(self.inner.trainable_variables)
            targets = [as_numpy(v) for v in values]
            sys.path.insert(0, str(HERE.parents[1]))
            from gradients import vjp

            def run(*given):
                with keras.StatelessScope(state_mapping=list(zip(values, given, strict=True))):
                    result = flat_outputs(self.inner, self.inner(batch, training=True))
                return [keras.ops.mean(keras.ops.square(result[n])) for n in floats]

            _, gradients = vjp(run, targets, [np.ones((), "float32")] * len(floats))
            pairs = [(g, v) for g, v in zip(gradients, values, strict=True) if g is not None]
            optimizer.build([v for _, v in pairs])
            optimizer.apply([keras.ops.convert_to_tensor(g, dtype=v.dtype) for g, v in pairs], [v for _, v in pairs])
            return {v.path: g for g, v in pairs}

    moved = Step(layer).train_on(inputs, keras.optimizers.SGD(1e-3))
    if not moved:
        return "no gradient reaches any variable"
    for name, variable in layer.source_variables.items():
        changed = not np.array_equal(before[name], as_numpy(variable), equal_nan=True)
        if variable.path in moved:
            gradient = moved[variable.path]
            scale = np.abs(before[name]).max(initial=0.0)
            if (
                not changed
                and np.isfinite(gradient).all()
                and 1e-3 * np.abs(gradient).max(initial=0.0) > 1e-6 * max(scale, 1e-30)
            ):
                return f"{name} did not move"
        elif changed:
            return f"{name} moved without having been selected"
    return ""


def saves(layer, inputs, outputs):
    """Saved as .keras and loaded, the layer answers the same; "" or what went wrong."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        layer.save(file)
        again = keras.saving.load_model(file)
        found = flat_outputs(again, again(inputs)) if hasattr(again, "program") else native_outputs(again(inputs))
        for name, value in found.items():
            difference = off(as_numpy(value), as_numpy(outputs[name]))
            if difference > 1e-6:
                return f"{name}: {difference:.1e}"
    return ""


def score_native(path, goldens, row):
    """A legacy Keras file: opened as a native model."""
    import keras

    import thaw

    model = thaw.load_model(path)
    row["reads"] = "yes"
    golden = next((g for g in goldens if g.variant.endswith("/keras")), None)
    if golden is None:
        return
    fed = [value.astype(object) if value.dtype.kind in "SU" else value for value in golden.parts["in"].values()]
    outputs = native_outputs(model(fed if len(fed) > 1 else fed[0], training=False))
    row["runs"] = "yes"
    names = list(golden.parts.get("out", {}))
    renamed = dict(zip(names, outputs.values(), strict=False)) if not set(names) <= set(outputs) else outputs
    worst, where = compare_outputs(renamed, golden)
    row["output"] = "yes" if worst <= TOLERANCE else (f"yes ({worst:.0e})" if worst <= DEEP else where)
    model.compile("sgd", "mse")
    model.fit(fed if len(fed) > 1 else fed[0], [as_numpy(v) for v in outputs.values()], verbose=0)
    row["trains"] = "yes"
    row["saved"] = (
        saves(
            model,
            fed if len(fed) > 1 else fed[0],
            {str(i): v for i, v in enumerate(keras.tree.flatten(model(fed if len(fed) > 1 else fed[0])))},
        )
        or "yes"
    )


def made_up_inputs(layer):
    """Inputs of the declared dtypes and shapes, for a model without goldens; unknown axes are 1, the batch 2."""
    from thaw.graph.program import tensors

    program = layer.program
    random = np.random.default_rng(0)

    def make(spec):
        shape = [2 if i == 0 and n is None else (1 if n is None else n) for i, n in enumerate(spec.shape or (2,))]
        if spec.dtype == "string":
            made = np.empty(shape, object)
            made[...] = b"some words"
            return made
        if spec.dtype.startswith(("int", "uint")):
            return random.integers(0, 2, shape).astype(spec.dtype)
        return np.asarray(random.random(shape), "bool" if spec.dtype == "bool" else "float32")

    bound = program.bound(program.variants[0].trace)
    return {n: make(spec) for n, s in bound.items() for spec in tensors(s) if n != "training"}


def score(folder: Path, stages=STAGES):
    """What works of the model in `folder` on the running backend: a dict stage -> "yes", "-" or the reason why not."""
    row = dict.fromkeys(STAGES, "-")
    started = time.perf_counter()
    stage = "reads"
    try:
        path, goldens = artifact_of(folder), variants_of(folder)
        if path.suffix in {".h5", ".hdf5", ".keras"}:
            score_native(path, goldens, row)
        elif not goldens:
            import thaw

            layer = thaw.KerasLayer(path)
            row["reads"], stage = "yes", "runs"
            inputs = made_up_inputs(layer)
            outputs = flat_outputs(layer, layer(inputs if layer.program.is_signature else next(iter(inputs.values()))))
            row["runs"] = f"yes ({len(outputs)} outputs)"
        for golden in goldens if path.suffix not in {".h5", ".hdf5", ".keras"} else []:
            stage = "reads"
            layer, training = layer_for(path, golden.variant)
            row["reads"] = "yes" if row["reads"] == "-" else row["reads"]
            stage = "runs"
            layer._set_leaves(True, follow_advice=False)
            inputs = inputs_for(layer, golden)
            outputs = flat_outputs(
                layer, layer(inputs, training=False if not training else None) if not training else without_writing(layer, inputs)
            )
            row["runs"] = "yes" if row["runs"] == "-" else row["runs"]
            stage = "output"
            worst, where = compare_outputs(outputs, golden)
            if worst > DEEP:
                worst, where = against_rounding(path, golden, "output", worst, where)
            note(row, "output", worst, where, golden)
            if "gradient" in stages:
                stage = "gradient"
                worst, where, count = compare_gradients(layer, inputs, training, outputs, golden)
                if DEEP < worst < float("inf"):
                    worst, where = against_rounding(path, golden, "gradient", worst, where)
                if count or worst:
                    note(row, "gradient", worst, where, golden)
            if not training and row["saved"] == "-" and "saved" in stages:
                stage = "saved"
                trouble = saves(layer, inputs, outputs)
                row["saved"] = "yes (sampled)" if golden.stochastic and trouble else trouble or "yes"
            if not training and row["trains"] == "-" and "trains" in stages:
                stage = "trains"
                row["trains"] = trains(path, golden.variant, golden) or "yes"
    except Exception as error:
        if os.environ.get("CORPUS_DEBUG"):
            traceback.print_exc()
        row[stage] = f"{type(error).__name__}: {str(error)[:300]}"
    row["seconds"] = round(time.perf_counter() - started, 1)
    row["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row


def without_writing(layer, inputs):
    """The outputs of a training call whose updates are thrown away."""
    import keras

    with keras.StatelessScope():
        return layer(inputs, training=True)


def against_rounding(path, golden, stage, worst, where):
    """(0, "") where TensorFlow's own float32 answer is as far from the exact one as ours is from TensorFlow's.

    Batch statistics of a handful of examples and logarithms near zero magnify rounding. The exact answer is our own graph in
    float64, which PyTorch and TensorFlow can; under JAX the difference stands as it is.
    """
    import keras

    if keras.backend.backend() == "jax":
        return worst, where
    layer, training = layer_for(path, golden.variant, dtype="float64")
    layer._set_leaves(True, follow_advice=False)
    inputs = inputs_for(layer, golden)
    outputs = flat_outputs(layer, without_writing(layer, inputs) if training else layer(inputs, training=False))
    if stage == "output":
        rounding, _ = compare_outputs(outputs, golden)
    else:
        rounding, _, _ = compare_gradients(layer, inputs, training, outputs, golden)
    if worst <= 4 * rounding:
        return 0.0, ""
    return worst, f"{where} (TensorFlow's own rounding: {rounding:.1e})"


def note(row, stage, worst, where, golden):
    """Keeps the worst of the variants: yes, yes with the difference where only a deep net is excused, or what differs."""
    if worst > DEEP:
        row[stage] = f"{golden.variant} {where}" if row[stage].startswith(("-", "yes")) else row[stage]
    elif row[stage] in {"-", "yes"}:
        row[stage] = "yes" if worst <= TOLERANCE else f"yes ({worst:.0e})"


# All models, each in a process of its own


def unpacked(folder: Path, into: Path) -> Path:
    """`folder` with its `model.tar.gz`, if it has one, laid out."""
    archive = folder / "model.tar.gz"
    if not archive.exists():
        return folder
    target = into / folder.name
    if not target.exists():
        target.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        for name in ("card.json", "golden.npz"):
            if (folder / name).exists():
                (target / name).write_bytes((folder / name).read_bytes())
    return target


def score_in_process(folder: Path, backend: str, timeout: float):
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(HERE), "--one", str(folder)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {**dict.fromkeys(STAGES, "-"), "reads": f"took more than {timeout:.0f} s", "seconds": timeout, "memory": 0}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {
            **dict.fromkeys(STAGES, "-"),
            "reads": f"crashed ({done.returncode}): {done.stderr[-300:]}",
            "seconds": 0,
            "memory": 0,
        }
    return json.loads(lines[-1])


def markdown(rows) -> str:
    lines = ["| model | backend | " + " | ".join(STAGES) + " | s | MiB |", "|---" * (len(STAGES) + 4) + "|"]
    for row in rows:
        cells = [str(row[s]).replace("|", "/").replace("\n", " ")[:90] for s in STAGES]
        lines.append(f"| {row['model']} | {row['backend']} | " + " | ".join(cells) + f" | {row['seconds']} | {row['memory']} |")
    lines.append("")
    for backend in dict.fromkeys(row["backend"] for row in rows):
        mine = [row for row in rows if row["backend"] == backend]
        counts = ", ".join(
            f"{s} {sum(str(r[s]).startswith('yes') for r in mine)}/{sum(r[s] != '-' for r in mine)}" for s in STAGES
        )
        lines.append(f"{backend}: {len(mine)} models; {counts}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--backend", nargs="*", default=list(BACKENDS))
    parser.add_argument("--model", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--timeout", type=float, default=300.0)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(score(options.folder)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = [p for p in sorted(options.folder.iterdir()) if p.is_dir() and (not options.model or p.name in options.model)]
        for number, folder in enumerate(folders, 1):
            for backend in options.backend:
                row = score_in_process(unpacked(folder, Path(scratch)), backend, options.timeout)
                rows.append({"model": folder.name, "backend": backend, **row})
                summary = "  ".join(f"{s}:{'yes' if str(row[s]).startswith('yes') else row[s][:120]}" for s in STAGES)
                print(
                    f"[{number}/{len(folders)}] {folder.name} {backend} {summary} {row['seconds']} s", file=sys.stderr, flush=True
                )
    text = markdown(rows)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
