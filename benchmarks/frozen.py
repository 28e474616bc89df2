"""What freezing saves: a training step with everything trained beside one with nine tenths of the net frozen.

    python benchmarks/frozen.py [NAME ...] [--backend jax torch tensorflow] [--rounds N] [--remat]

Each backend is a process of its own, pinned to one core, whose CPU time counts; in it two models of the same artifact take turns.
The frozen one was compiled with everything training and had its flags changed after a first step: nothing is compiled again by
hand. Prints rows as benchmarks/run.py does, and what the optimizer (Adam) and the step hold. `--remat` sets the figures of
`KerasLayer(remat=True)` beside the plain layer instead, memory by a process each. Artifacts are those of run.py.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent


def memory(word):
    """MiB of this process: "VmHWM" at most since the last `reset`, "VmRSS" now."""
    return int(re.search(rf"{word}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def model_of(artifact, folder, **arguments):
    import keras

    import thaw

    layer = thaw.KerasLayer(folder, trainable=True, **artifact.layer, **arguments)
    if artifact.prepare:
        artifact.prepare(layer)
    model = keras.Sequential([keras.Input(**artifact.input), layer, keras.layers.Dense(5)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, layer


def freeze(layer):
    """The first nine tenths of the inner layers that hold weights, in the order of the graph."""
    leaves = [leaf for leaf in layer._leaves() if any(v.trainable for v in getattr(leaf, "_trainable_variables", []))]
    leaves = leaves or list(layer.layers)
    for leaf in leaves[: round(0.9 * len(leaves))]:
        leaf.trainable = False


def state(model):
    """MiB that the optimizer holds."""
    return sum(v.value.nbytes if hasattr(v.value, "nbytes") else 4 * v.numpy().size for v in model.optimizer.variables) / 2**20


def compare(artifact, folder, rounds):
    x, y = artifact.data()
    sides = {"all": model_of(artifact, folder), "frozen": model_of(artifact, folder)}
    for model, _ in sides.values():
        model.train_on_batch(x, y)
    freeze(sides["frozen"][1])
    found = {name: {"step": []} for name in sides}
    for name, (model, _) in sides.items():
        model.train_on_batch(x, y)
        found[name]["state"] = state(model)
    for _ in range(rounds):
        for name, (model, _) in sides.items():
            start = time.process_time()
            model.train_on_batch(x, y)
            found[name]["step"].append(time.process_time() - start)
    return found


def alone(artifact, folder, rounds, remat):
    """Time and memory of steps of one model in this process."""
    x, y = artifact.data()
    model, _ = model_of(artifact, folder, remat=remat)
    before = memory("VmRSS")
    for _ in range(2):
        model.train_on_batch(x, y)
    Path("/proc/self/clear_refs").write_text("5")
    samples = []
    for _ in range(rounds):
        start = time.process_time()
        model.train_on_batch(x, y)
        samples.append(time.process_time() - start)
    return {"step": samples, "peak": memory("VmHWM"), "before": before}


def worker(job, name, folder, rounds):
    sys.path.insert(0, str(HERE))
    from artifacts import artifacts

    artifact = artifacts()[name]
    result = compare(artifact, folder, rounds) if job == "frozen" else alone(artifact, folder, rounds, job == "remat")
    print("RESULT " + json.dumps(result))


def run(job, name, folder, backend, rounds):
    pinned = sorted(os.sched_getaffinity(0))[-1:]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, __file__, "--worker", job, name, str(folder), str(rounds)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, pinned),
    )
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT ")).removeprefix("RESULT "))


def milliseconds(samples):
    return f"{1000 * statistics.median(samples):.0f}±{500 * (max(samples) - min(samples)):.0f}"


def main():
    if sys.argv[1:2] == ["--worker"]:
        job, name, folder, rounds = sys.argv[2:]
        return worker(job, name, folder, int(rounds))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["mobilenet_v2_96"])
    parser.add_argument("--backend", nargs="*", default=["jax", "torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--remat", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from artifacts import artifacts
    from run import built

    beside = "kept activations" if options.remat else "everything trained"
    what = "remat=True" if options.remat else "90 % frozen"
    held = "peak memory" if options.remat else "optimizer state"
    print(f"| artifact | where | thaw on | {what} beside | step | {held} |\n" + "|---" * 6 + "|")
    for name in options.names:
        folder = built(artifacts()[name])
        for backend in options.backend:
            if options.remat:
                ours, theirs = (run(job, name, folder, backend, options.rounds) for job in ("remat", "plain"))
                sizes = [side["peak"] for side in (ours, theirs)]
            else:
                found = run("frozen", name, folder, backend, options.rounds)
                ours, theirs = found["frozen"], found["all"]
                sizes = [side["state"] for side in (ours, theirs)]
            ratio = statistics.median(theirs["step"]) / statistics.median(ours["step"])
            steps = f"**{ratio:.2f}** {milliseconds(ours['step'])} : {milliseconds(theirs['step'])} ms"
            held = f"**{sizes[1] / max(sizes[0], 1e-9):.2f}** {sizes[0]:.1f} : {sizes[1]:.1f} MiB"
            print(f"| {name} | cpu, one thread | {backend} | {beside} | {steps} | {held} |", flush=True)
    return None


if __name__ == "__main__":
    main()
