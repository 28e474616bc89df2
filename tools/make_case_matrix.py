"""Writes tests/golden/lowering/matrix.json: for each op, the kinds of values of cases/matrix.py that TensorFlow answers.

`make_case_matrix.py --new` asks about the ops that the file does not name yet. TensorFlow aborts the process on some, so each
op is asked in a process that may die. Needs TensorFlow. Then `tools/make_golden.py lowering matrix` records the answers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from lowering.cases import matrix  # noqa: E402


def ask(numbers: list[int]) -> None:
    """Prints a line before and after each question about the ops of those numbers."""
    from golden_lowering import answer

    bases = matrix.bases()
    for number in numbers:
        case = bases[number][1]
        for kind in matrix.KINDS:
            row = matrix.derived(case, kind)
            if row is None or (case.op, kind) in matrix.LEFT_OUT:
                continue
            print(f"? {number} {kind}", flush=True)
            try:
                answer(row)
            except Exception:
                continue
            print(f"! {number} {kind}", flush=True)


def main(new: bool) -> None:
    bases = matrix.bases()
    found: dict[str, list[str]] = json.loads(matrix.ACCEPTED.read_text()) if new else {}
    waiting = [n for n, (_, case) in enumerate(bases) if case.op not in found]
    while waiting:
        command = [sys.executable, __file__, *map(str, waiting)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        lines = [line.split() for line in run.stdout.splitlines() if line[:1] in "?!"]
        for mark, number, kind in lines:
            if mark == "!":
                found.setdefault(bases[int(number)][1].op, []).append(kind)
        waiting = [] if run.returncode == 0 else [n for n in waiting if n > int(lines[-1][1])]
    matrix.ACCEPTED.write_text(json.dumps(dict(sorted(found.items())), indent=0) + "\n")
    sys.stdout.write(f"{sum(map(len, found.values()))} rows of {len(found)} ops in {matrix.ACCEPTED}\n")


if __name__ == "__main__":
    ask([int(n) for n in sys.argv[1:]]) if sys.argv[1:] and sys.argv[1] != "--new" else main("--new" in sys.argv)
