"""`make bench`: thaw beside its peers, by turns, in one run.

    python benchmarks/run.py [NAME ...] [--backend jax torch tensorflow] [--threads 1 all] [--allocator default tuned]
                             [--rounds N] [--peers hub raw ...] [--device cpu gpu] [--write] [--render]

Or by the environment: BENCH, BACKEND, THREADS, ALLOCATOR, ROUNDS, PEERS, DEVICE. Each measurement is a process of its own
(worker.py); the sides take turns, so that a machine whose speed drifts slows all of them. What was measured is kept after each
process, in bench.json in the cache folder, and printed at the end, also after Ctrl-C; a new run of an artifact replaces its old
figures. One thread: the process is pinned to one core and its CPU time counts. `--write` puts all that is kept into
benchmarks/README.md, and beside it as results.json. Artifacts are built once, into BENCH_CACHE (default: the environment's own
folder). Needs TensorFlow, tf_keras and tensorflow_hub.
"""

import argparse
import json
import os
import platform
import runpy
import statistics
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from artifacts import MODULES, artifacts

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("BENCH_CACHE", Path(sys.prefix) / "bench"))
COLUMNS = (
    "import",
    "load",
    "first_prediction",
    "prediction",
    "first_step",
    "step",
    "fit",
    "memory_load",
    "memory_prediction",
    "memory_step",
)
ALLOCATOR = runpy.run_path(str(HERE.parent / "src" / "thaw" / "allocator.py"))  # importing thaw would start Keras
MARKS = ("<!-- table: written by benchmarks/run.py --write -->", "<!-- end of table -->")
PEERS = {"hub": "tensorflow", "raw": "tensorflow", "tfsm": "tensorflow", "tf2jax": "jax"}
LABELS = {
    "native": "native Keras",
    "hub": "hub.KerasLayer on tf_keras",
    "raw": "raw TensorFlow",
    "tfsm": "TFSMLayer",
    "tf2jax": "tf2jax under jit",
}


@dataclass(frozen=True)
class Side:
    """Who is measured, and how: `kind` is thaw, native or a peer's name."""

    artifact: str
    device: str
    threads: str
    kind: str
    backend: str
    allocator: str

    @property
    def key(self):
        return "|".join(vars(self).values())


def sides(artifact, options, device, threads):
    """Of one artifact, in turn; with the allocator's setting on CPUs only."""
    found = []
    for backend in options.backend:
        for allocator in options.allocator if device == "cpu" else ("default",):
            found += [Side(artifact.name, device, threads, kind, backend, allocator) for kind in ("thaw", "native")]
    found += [Side(artifact.name, device, threads, p, PEERS[p], "default") for p in options.peers if p != "native"]
    found += [Side(artifact.name, device, threads, p, "tensorflow", "default") for p in artifact.peers]
    if artifact.native is None or "native" not in options.peers:
        found = [s for s in found if s.kind != "native"]
    return [s for s in found if s.kind not in artifact.without]


def environment(side):
    one = side.threads == "1"
    more = {
        "KERAS_BACKEND": side.backend,
        "BENCH_CLOCK": "cpu" if one else "wall",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    if one:
        more |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    if side.kind == "hub":
        more["TF_USE_LEGACY_KERAS"] = "1"
    if side.allocator == "tuned":
        more |= ALLOCATOR["tuned_environment"](side.backend)
    if side.device == "cpu":
        more |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}
    # Compiled modules are kept, as on any user's machine; without them thaw alone, which lies here as source, would compile anew.
    without = {"PYTHONDONTWRITEBYTECODE"} if one else {"PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS"}
    return {**{k: v for k, v in os.environ.items() if k not in without}, **more}


def measure(side, folder):
    """One process: the columns that it got to, each a list of samples; and why it ended early, if it did."""
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    pin = (lambda: os.sched_setaffinity(0, {core})) if side.threads == "1" and core is not None else None
    own = artifacts()[side.artifact].peers.get(side.kind)
    command = [*(own.command if own else (sys.executable, str(HERE / "worker.py"))), side.kind, side.artifact, str(folder)]
    done = subprocess.run(
        command, env=environment(side), capture_output=True, text=True, timeout=3600, check=False, preexec_fn=pin
    )
    found = [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = found[-1] if found else {}
    if done.returncode:
        result["failed"] = next((line for line in reversed(done.stderr.splitlines()) if "Error:" in line), str(done.returncode))[
            :200
        ]
    return result


def built(artifact):
    """The folder of the artifact, built where it is not there or its module has changed since."""
    source = Path(sys.modules[next(m for m in MODULES if artifact in sys.modules[m].ARTIFACTS)].__file__)
    folder = CACHE / f"{artifact.name}-{zlib.crc32(source.read_bytes()):08x}"
    if not folder.exists():
        print(f"building {artifact.name} in {folder}", file=sys.stderr)
        scratch = folder.with_suffix(".part")
        code = "import sys, pathlib, artifacts; artifacts.artifacts()[sys.argv[1]].build(pathlib.Path(sys.argv[2]))"
        legacy = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE)}
        subprocess.run([sys.executable, "-c", code, artifact.name, str(scratch)], env=legacy, check=True)
        scratch.rename(folder)
    return folder


def figure(rounds, column):
    """Median over rounds and half their range; with one round, of its own samples. None where there is nothing."""
    samples = [r[column] for r in rounds if column in r]
    if not samples:
        return None
    values = [statistics.median(s) for s in samples] if len(samples) > 1 else samples[0]
    return statistics.median(values), (max(values) - min(values)) / 2


def shown(ours, theirs, column):
    """One cell: how many times thaw is ahead, and both figures."""
    if ours is None or theirs is None:
        return "-"
    memory = column.startswith("memory")
    unit, factor = ("MiB", 1) if memory else ("s", 1) if max(ours[0], theirs[0]) >= 10 else ("ms", 1000)
    digits = 1 if unit == "s" else 0
    text = [f"{value * factor:.{digits}f}±{spread * factor:.{digits}f}" for value, spread in (ours, theirs)]
    return f"**{theirs[0] / ours[0]:.2f}** {text[0]} : {text[1]} {unit}"


def rows(kept, name):
    """The table's rows of one artifact: every side of thaw's beside every peer."""
    mine = {Side(*key.split("|")): rounds for key, rounds in kept.items() if key.split("|")[0] == name}
    peers = artifacts()[name].peers
    labels = LABELS | {kind: peer.label for kind, peer in peers.items()}
    for ours, own in mine.items():
        if ours.kind != "thaw":
            continue
        for theirs, other in mine.items():
            same = (theirs.device, theirs.threads) == (ours.device, ours.threads)
            wanted = theirs.backend == ours.backend or theirs.kind in {"hub", *peers}
            if theirs.kind == "thaw" or not same or not wanted or (theirs.allocator, ours.allocator) == ("tuned", "default"):
                continue
            threads = "one thread" if ours.threads == "1" else "all threads"
            tuned = ["", ", tuned"]
            side = f"{ours.backend}{tuned[ours.allocator == 'tuned']}"
            peer = f"{labels.get(theirs.kind, theirs.kind)}{tuned[theirs.allocator == 'tuned']}"
            cells = [shown(figure(own, c), figure(other, c), c) for c in COLUMNS]
            yield f"| {name} | {ours.device}, {threads} | {side} | {peer} | " + " | ".join(cells) + " |"


def failures(kept):
    """Lines about sides that ended early."""
    for key, rounds in kept.items():
        reasons = {r["failed"] for r in rounds if "failed" in r}
        if reasons:
            side = Side(*key.split("|"))
            yield f"- {side.artifact}: {side.kind} on {side.backend} ended early: `{min(reasons)}`"


def render(kept):
    """All that is kept, as Markdown."""
    known = artifacts()
    head = ["artifact", "where", "thaw on", "beside", *(c.replace("_", " ") for c in COLUMNS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in known:
        lines += rows(kept["figures"], name)
    left_out = [f"- {a.name}: without {LABELS.get(s, s)}: {why}" for a in known.values() for s, why in a.without.items()]
    notes = [*left_out, *failures(kept["figures"])]
    return f"{kept['machine']}.\n\n" + "\n".join(lines) + ("\n\n" + "\n".join(notes) if notes else "")


def machine():
    info = Path("/proc/cpuinfo")
    names = (
        [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    )
    return f"{(names or [platform.processor()])[0]}, {os.cpu_count()} cores, Python {platform.python_version()}{gpu()}"


def gpu():
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
    return f", {found.splitlines()[0].split(' (')[0]}" if found.startswith("GPU") else ""


def run(names, options, kept, store):
    known = artifacts()
    for name in names:
        artifact, folder = known[name], built(known[name])
        fresh = set()
        turns = [
            side
            for device in options.device
            for threads in (options.threads if device == "cpu" else ["all"])
            for side in sides(artifact, options, device, threads)
        ]
        for number in range(options.rounds):
            for place, side in enumerate(turns[number % 2 :: 2] + turns[1 - number % 2 :: 2], 1):
                print(f"{name}, round {number + 1}/{options.rounds}, {place}/{len(turns)}: {side.key} ", end="", file=sys.stderr)
                result = measure(side, folder)
                if side.key not in fresh:
                    kept["figures"][side.key] = []
                    fresh.add(side.key)
                kept["figures"][side.key].append(result)
                store()
                brief = {c: round(statistics.median(result[c]), 3) for c in ("load", "prediction", "step", "fit") if c in result}
                print(result.get("failed", brief), file=sys.stderr)


def words(name, default):
    return [w for w in os.environ.get(name, "").split() if w] or default


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--backend", nargs="*", default=words("BACKEND", ["jax", "torch", "tensorflow"]))
    parser.add_argument("--threads", nargs="*", choices=("1", "all"), default=words("THREADS", ["1"]))
    parser.add_argument("--allocator", nargs="*", choices=("default", "tuned"), default=words("ALLOCATOR", ["default", "tuned"]))
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "3")))
    parser.add_argument("--peers", nargs="*", choices=("native", *PEERS), default=words("PEERS", ["native", *PEERS]))
    parser.add_argument(
        "--device", nargs="*", choices=("cpu", "gpu"), default=words("DEVICE", ["cpu", "gpu"] if gpu() else ["cpu"])
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args()
    known = artifacts()
    names = options.names or words("BENCH", list(known))
    if unknown := [n for n in names if n not in known]:
        sys.exit(f"there is no artifact {unknown[0]!r}; there are {', '.join(known)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    store = CACHE / "bench.json"
    kept = json.loads(store.read_text()) if store.exists() else {"figures": {}}
    kept["machine"] = machine()
    try:
        if not options.render:
            run(names, options, kept, lambda: store.write_text(json.dumps(kept)))
    except KeyboardInterrupt:
        print("\nstopped; what was measured is kept", file=sys.stderr)
    if not options.write:
        kept = {**kept, "figures": {k: v for k, v in kept["figures"].items() if k.split("|")[0] in names}}
    text = render(kept)
    print(text)
    if options.write:
        (HERE / "results.json").write_text(json.dumps(kept, indent=1) + "\n")
        page = HERE / "README.md"
        before, _, rest = page.read_text().partition(MARKS[0])
        page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    main()
