"""Writes tests/golden/lowering/matrix.json: for each op, the kinds of values of cases/matrix.py that TensorFlow answers.

TensorFlow aborts the process on some of them, so each op is asked in a process that may die. Needs TensorFlow. Then
`tools/make_golden.py lowering matrix` records the answers.
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


def ask(first: int) -> None:
    """Prints a line before and after each question, from the op of that number on."""
    from golden_lowering import answer

    for number, (_, case) in list(enumerate(matrix.bases()))[first:]:
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


def main() -> None:
    bases = matrix.bases()
    found: dict[str, list[str]] = {}
    first, total = 0, len(bases)
    while first < total:
        run = subprocess.run([sys.executable, __file__, str(first)], stdout=subprocess.PIPE, text=True, check=False)
        lines = [line.split() for line in run.stdout.splitlines() if line[:1] in "?!"]
        for mark, number, kind in lines:
            if mark == "!":
                found.setdefault(bases[int(number)][1].op, []).append(kind)
        first = total if run.returncode == 0 else int(lines[-1][1]) + 1
    matrix.ACCEPTED.write_text(json.dumps(found, indent=0) + "\n")
    sys.stdout.write(f"{sum(map(len, found.values()))} rows of {len(found)} ops in {matrix.ACCEPTED}\n")


if __name__ == "__main__":
    ask(int(sys.argv[1])) if len(sys.argv) > 1 else main()
