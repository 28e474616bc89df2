"""`make bench`: thaw beside its peers, by turns, in one run.

    python benchmarks/run.py [NAME ...] [--rounds N] [--backend jax torch tensorflow] [--write]

Each measurement is a process of its own; the sides take turns, so that a machine whose speed drifts slows all of them.
A row gives medians over rounds and, in brackets, the peer's figure over ours: above 1 is better for us. One thread
(OMP_NUM_THREADS=1) unless --threads says otherwise. BENCH=name in the environment picks one artifact. `--write` puts the table
into benchmarks/README.md between its markers, with the machine named. Needs TensorFlow, tf_keras and tensorflow_hub.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from artifacts import SPECS

HERE = Path(__file__).resolve().parent
COLUMNS = ("import", "load", "first_prediction", "prediction", "first_step", "step", "memory_inference", "memory")
UNITS = {c: "MiB" if c.startswith("memory") else "s" for c in COLUMNS}
MARKS = ("<!-- table: written by benchmarks/run.py --write -->", "<!-- end of table -->")


def measure(side, backend, name, folder, threads, allocator):
    """One process; a dict of figures, or of the reason why there are none."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false" if threads == 1 else "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BENCH_ALLOCATOR": allocator,
    }
    if side == "hub":
        environment["TF_USE_LEGACY_KERAS"] = "1"
    done = subprocess.run(
        [sys.executable, str(HERE / "worker.py"), side, name, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    print(f"{side} on {backend}, {name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return {}


def build(name, folder):
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import artifacts; artifacts.build({name!r}, {str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}, check=True, capture_output=True)


def median(results, column):
    values = [r[column] for r in results if column in r]
    return statistics.median(values) if values else None


def cell(value, unit):
    if value is None:
        return "-"
    return f"{value:,.0f}" if unit == "MiB" else (f"{value * 1000:,.0f} ms" if value < 1 else f"{value:.1f} s")


def table(found, names, backends):
    """Markdown: a row a side; the ratio of its time to thaw's on that backend in brackets."""
    lines = ["| artifact | side | " + " | ".join(c.replace("_", " ") for c in COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in names:
        for backend in backends:
            ours = found.get((name, "thaw", backend), [])
            lines.append(
                f"| {name} | **thaw, {backend}** | " + " | ".join(cell(median(ours, c), UNITS[c]) for c in COLUMNS) + " |"
            )
            for side, on in (("native", backend), ("hub", "tensorflow")):
                theirs = found.get((name, side, on), [])
                cells = []
                for column in COLUMNS:
                    value, own = median(theirs, column), median(ours, column)
                    ratio = f" ({value / own:.2f})" if value and own else ""
                    cells.append(cell(value, UNITS[column]) + ratio)
                label = f"native Keras, {on}" if side == "native" else "hub.KerasLayer, tf_keras"
                lines.append(f"| {name} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine():
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), ""
    )
    return f"{model or platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", nargs="*", default=["jax", "torch", "tensorflow"])
    parser.add_argument("--allocator", choices=("default", "tuned"), default="default", help="for all sides alike")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = options.names or [n for n in os.environ.get("BENCH", "").split() if n] or list(SPECS)[:1]
    unknown = [n for n in names if n not in SPECS]
    if unknown:
        sys.exit(f"there is no artifact {unknown[0]!r}; there are {', '.join(SPECS)}")
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            folder = Path(scratch) / name
            build(name, folder)
            sides = [(side, backend) for backend in options.backend for side in ("thaw", "native")] + [("hub", "tensorflow")]
            for number in range(options.rounds):
                for side, backend in sides:
                    result = measure(side, backend, name, folder, options.threads, options.allocator)
                    if result:
                        found.setdefault((name, side, backend), []).append(result)
                    print(f"round {number + 1}/{options.rounds} {name} {side} {backend} {result.get('step')}", file=sys.stderr)
    how = f"medians of {options.rounds} rounds by turns, {options.threads} thread(s), {options.allocator} allocator"
    text = f"{machine()}; {how}. In brackets: the peer's figure over ours, above 1 is ours ahead.\n\n" + table(
        found, names, options.backend
    )
    print(text)
    if options.write:
        page = HERE / "README.md"
        before, _, rest = page.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
