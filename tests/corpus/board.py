"""The scoreboard's rows as Markdown and JSON, and what they add up to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STAGES = ("reads", "runs", "output", "gradient", "trains", "saved")
Row = dict[str, Any]
WIDTH = 44


def verdict(cell: str) -> str:
    """ "yes", "no" or "-"."""
    return "yes" if cell.startswith("yes") else "no" if cell.startswith("no") else "-"


def one_line(row: Row) -> str:
    """The row for the progress: all is well, or what is not."""
    misses = [f"{stage}: {' '.join(str(row[stage]).split())[4:160]}" for stage in STAGES if verdict(row[stage]) == "no"]
    done = [stage for stage in STAGES if verdict(row[stage]) == "yes"]
    found = f"MISS {'; '.join(misses)}" if misses else "ok"
    return f"{found} ({', '.join(done) or 'nothing'})  {row['seconds']} s, {row['memory']} MiB"


def markdown(rows: Sequence[Row]) -> str:
    """One table with a line a model and backend, every miss with its reason, the counts, the slowest and the largest."""
    lines = [
        "| model | backend | " + " | ".join(STAGES) + " | s | MiB |",
        "|---|---|" + "---|" * len(STAGES) + "--:|--:|",
    ]
    for row in rows:
        cells = [_short(str(row[stage])) for stage in STAGES]
        lines.append(f"| {row['model']} | {row['backend']} | " + " | ".join(cells) + f" | {row['seconds']} | {row['memory']} |")
    misses = [(row, stage) for row in rows for stage in STAGES if verdict(row[stage]) == "no"]
    if misses:
        lines += ["", f"Misses ({len(misses)}):", ""]
        lines += [f"- {row['model']}, {row['backend']}, {stage}: {_flat(row[stage][4:])}" for row, stage in misses]
    lines += ["", *summary(rows)]
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row]) -> list[str]:
    """A line a backend: how many models pass each stage, of those where there is something to do; time and memory."""
    lines = []
    for backend in dict.fromkeys(row["backend"] for row in rows):
        mine = [row for row in rows if row["backend"] == backend]
        counts = []
        for stage in STAGES:
            verdicts = [verdict(row[stage]) for row in mine]
            counts.append(f"{stage} {verdicts.count('yes')}/{verdicts.count('yes') + verdicts.count('no')}")
        slowest, largest = max(mine, key=lambda r: r["seconds"]), max(mine, key=lambda r: r["memory"])
        lines.append(
            f"{backend}: {len(mine)} models; {', '.join(counts)}; {sum(r['seconds'] for r in mine):.0f} s, slowest "
            f"{slowest['model']} ({slowest['seconds']} s), largest {largest['model']} ({largest['memory']} MiB)"
        )
    return lines


def write(rows: Sequence[Row], json_file: Path | None, markdown_file: Path | None) -> None:
    """Writes both files, whole or not at all, so that an interrupted run leaves what was scored."""
    for file, text in ((json_file, json.dumps(list(rows), indent=1)), (markdown_file, markdown(rows))):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(file.name + ".part")
            part.write_text(text)
            part.replace(file)


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def _short(cell: str) -> str:
    flat = _flat(cell)
    return flat if len(flat) <= WIDTH else flat[: WIDTH - 1] + "…"
