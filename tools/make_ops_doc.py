"""Writes docs/ops.md from the op table and its cases: every op, where it runs, its gradient, what it asks for.

`text()` is what the page must say; tests/test_documents.py holds the committed page against it. Needs no TensorFlow.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import thaw.lowering.table  # noqa: E402, F401  (fills the registry)
from lowering import goldens  # noqa: E402
from thaw.lowering.registry import LOWERINGS, Lowering  # noqa: E402

BACKENDS = ("jax", "torch", "tensorflow")
TARGET = ROOT / "docs" / "ops.md"

HEAD = """# The op table

{total} TensorFlow ops run, each on JAX, PyTorch and TensorFlow, outside and inside compiled steps unless "limits" says
otherwise. This page is generated (`make docs`) from the table itself and from the cases that it is tested with; a test fails
when it is out of date.

- **gradient**: yes: compared with TensorFlow's own gradient on recorded cases; untested: differentiable, no recorded gradient;
  none: TensorFlow has none either (integers, comparisons, tables ...).
- **limits**: *host*: computed in numpy before the compiled step (strings, tables, decoding). *known: a, b*: these inputs must be
  constants or follow from shapes under `jax.jit`. *not on B*: the recorded answer is not met on that backend, for the reason
  given.
"""


def family(lowering: Lowering) -> str:
    return lowering.function.__module__.rpartition(".")[2]


def mark(op: str, backend: str, cases: list) -> str:
    if LOWERINGS[op].gradient == "none":
        return "none"
    return "yes" if any(c.gradient and backend in c.backends for c in cases) else "untested"


def limits(lowering: Lowering, cases: list) -> str:
    parts = ["host"] if lowering.host else []
    if lowering.static and not lowering.host:
        parts.append("known: " + ", ".join(n for n in lowering.inputs if n in lowering.static))
    for backend in BACKENDS:
        reasons = {c.why for c in cases if backend not in c.backends}
        parts += [f"not on {backend}: {reason}" for reason in sorted(reasons)]
    return "; ".join(parts)


def text() -> str:
    """The page."""
    cases: dict[str, list] = {}
    elsewhere: dict[str, str] = {}
    for name in goldens.families():
        module = goldens.family(name)
        elsewhere |= getattr(module, "ELSEWHERE", {})
        for case in module.CASES:
            cases.setdefault(case.op, []).append(case)
    lines = [HEAD.format(total=len(LOWERINGS))]
    for name in sorted({family(row) for row in LOWERINGS.values()}):
        lines += [
            "",
            f"## {name}",
            "",
            "| op | cases | gradient: jax | torch | tensorflow | limits |",
            "|---|---|---|---|---|---|",
        ]
        for row in sorted((r for r in LOWERINGS.values() if family(r) == name), key=lambda r: r.op):
            own = cases.get(row.op, [])
            count = str(len(own)) if own else elsewhere.get(row.op, "none")
            marks = " | ".join(mark(row.op, b, own) for b in BACKENDS)
            lines.append(f"| {row.op} | {count} | {marks} | {limits(row, own)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text())
    sys.stdout.write(f"{len(LOWERINGS)} ops in {TARGET}\n")
