"""A profile as text for the terminal: one line a layer, with its share as a bar, and what it was measured by."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from thaw.profiling import Profile, Row

BAR = 16
"""Characters of a bar that stands for all of the time."""
BLOCKS = " ▏▎▍▌▋▊▉█"


def render(found: Profile, *, top: int | None = None) -> RenderableType:
    """The profile, ready for a rich console; with `top`, so many layers that take most, the others in one line."""
    shapes = ", ".join(str(shape) for shape in found.inputs)
    head = Text.assemble((found.name, "bold"), f"  a training step on a batch of shape {shapes}")
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for column in ("ops", "forward ms", "backward ms", "share"):
        table.add_column(column, justify="right")
    table.add_column("")
    table.add_column("dominated by")
    shown = {id(row) for row in sorted(found.rows, key=lambda r: -r.total)[:top]}
    most = max((row.share for row in found.rows), default=0.0) or 1.0
    for row in found.rows:
        if id(row) in shown:
            share = 100.0 * row.by_op[row.dominating] / (100.0 * row.total) if row.total else 0.0
            cells = _figures(row.forward, row.backward, row.share)
            style = "dim" if row.path.startswith("(") else ""
            dominating = f"{row.dominating} {share:.0%}"
            table.add_row(Text(row.path, style=style), str(row.ops.total()), *cells, _bar(row.share / most), dominating)
    rest = [row for row in found.rows if id(row) not in shown]
    if rest:
        table.add_row(Text(f"{len(rest)} more layers", style="dim"), str(sum(r.ops.total() for r in rest)), *_sums(rest), "", "")
    every = list(found.rows)
    table.add_row(Text("sum", style="bold"), str(sum(r.ops.total() for r in every)), *_sums(every), "", "")
    whole = found.forward + found.backward or 1.0
    ops = ", ".join(f"{op} {spent / whole:.0%}" for op, spent in list(found.by_op.items())[:6])
    note = "Within a compiled step neighbouring ops are fused: the sum tells where time goes, not how long a step takes."
    return Group(head, Text(), table, Text(), Text.assemble(("by op: ", "bold"), ops), Text(f"measured: {found.method}. {note}"))


def _figures(forward: float, backward: float, share: float) -> tuple[str, str, str]:
    return f"{1000 * forward:.2f}", f"{1000 * backward:.2f}", f"{share:.1f} %"


def _sums(rows: list[Row]) -> tuple[str, str, str]:
    return _figures(sum(r.forward for r in rows), sum(r.backward for r in rows), sum(r.share for r in rows))


def _bar(share: float) -> str:
    eighths = round(share * BAR * 8)
    return BLOCKS[8] * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")
