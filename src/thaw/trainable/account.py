"""The account that `thaw.explain` gives: rows, totals and the first line; as a table, HTML, Markdown or JSON.

It knows nothing of why a weight trains or not: explain.py fills the rows. May import nothing of this package.
"""

import html
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

REASONS = {
    "E1": "frozen by the user",
    "E2": "left out of training by the publisher",
    "E3": "baked into the graph as a constant",
    "E4": "a statistic: updated, not trained",
    "E5": "an integer, a string or a table",
    "E6": "not connected to the output",
    "E7": "no gradient passes an op on the only way to the loss",
    "E8": "flag changed since the optimizer was built",
    "E9": "not among the optimizer's variables",
    "E10": "gradient exactly zero on this batch",
    "E11": "the artifact has no training variant",
    "E12": "quantized or packed",
    "E13": "its learning rate is zero",
}
"""Every reason why a weight does not train, by id."""

SURPRISES = ("E8", "E9", "E7", "E6", "E13", "E10")
"""Reasons that hold although the flag says that the weight trains: what a first line must tell, the worst first."""

PATH = "<path>"
"""Stands in a mend for the quoted path of the weight, or of the layer of weights, that it is for."""

FIXED = frozenset({"E4", "E5", "E11"})
"""Reasons of what is no weight in the sense of training: statistics, integers, tables."""

MOST_NEIGHBOURS = 8
"""Rows below one layer from which on neighbours of one fate are told together."""

MOST_ROWS = 60
"""Rows printed before a table is cut; `to_json` and `rows` have every one."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a weight does not train.

    Attributes:
        code: "E1" ... "E13".
        text: the reason in words, with names.
        culprit: the layer, op or flag responsible.
        mend: code that can be pasted, with `PATH` where the weight's path in quotes goes; empty where there is none.
    """

    code: str
    text: str
    culprit: str = ""
    mend: str = ""

    def mend_for(self, path: str) -> str:
        """The mend for the weight, or the layer of weights, at `path`."""
        return self.mend.replace(PATH, repr(path))


@dataclass(frozen=True, slots=True)
class Row:
    """One weight, or several that share their fate.

    Attributes:
        path: of the weight in the model; of the layer that holds them all, where it stands for several.
        parameters: how many numbers.
        weights: how many weights.
        trains: whether it moves in the next training step by its gradient.
        cause: why not; None where it trains.
        shape: of the one weight.
        dtype: of the one weight.
        label: what a table calls it, where that is not the path: a run of neighbours below one layer.
    """

    path: str
    parameters: int
    trains: bool
    cause: Cause | None = None
    weights: int = 1
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    label: str = ""

    @property
    def code(self) -> str:
        """The reason's id, empty where it trains."""
        return self.cause.code if self.cause else ""

    @property
    def reason(self) -> str:
        """The reason in words, empty where it trains."""
        return self.cause.text if self.cause else ""

    @property
    def mend(self) -> str:
        """Code that makes it train, empty where there is none."""
        return self.cause.mend_for(self.path) if self.cause else ""


@dataclass(frozen=True)
class Report:
    """What trains, what does not, why, and the mend. Prints as a table; shows as one in a notebook.

    Attributes:
        name: of the model or layer.
        rows: one a weight, in graph order.
        notes: what holds for a whole layer, in words.
    """

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def trains(self) -> tuple[Row, ...]:
        """The weights that train."""
        return tuple(row for row in self.rows if row.trains)

    @property
    def still(self) -> tuple[Row, ...]:
        """The weights that do not train."""
        return tuple(row for row in self.rows if not row.trains)

    def because(self, code: str) -> tuple[Row, ...]:
        """The weights that do not train for that reason, "E1" ... "E13"."""
        return tuple(row for row in self.rows if row.code == code)

    def __getitem__(self, path: str) -> Row:
        """The row of the weight of that path."""
        for row in self.rows:
            if row.path == path:
                return row
        raise KeyError(path)

    @property
    def totals(self) -> dict[str, int]:
        """Weights and parameters, in all and of those that train."""
        return {
            "weights": sum(r.weights for r in self.rows),
            "trainable_weights": sum(r.weights for r in self.trains),
            "parameters": sum(r.parameters for r in self.rows),
            "trainable_parameters": sum(r.parameters for r in self.trains),
        }

    @property
    def folded(self) -> tuple[Row, ...]:
        """The rows with every layer whose weights share one fate as a single row."""
        telling = [row for row in self.rows if row.code not in FIXED]
        shared = telling[0].cause if telling else None
        if len(telling) > 1 and shared is not None and PATH not in shared.mend and len({_fate(row) for row in telling}) == 1:
            t = self.totals  # one mend for the whole of it
            return (Row(self.name, t["parameters"], False, shared, t["weights"]),)
        return tuple(_fold(list(self.rows), ""))

    @property
    def first_line(self) -> str:
        """The most important thing to know, in a sentence, with its mend."""
        t = self.totals
        counts = f"{t['trainable_weights']:,} of {_count(t['weights'], 'weight')}"
        counts += f" ({t['trainable_parameters']:,} of {_count(t['parameters'], 'parameter')})"
        if not self.rows:
            return f"{self.name!r} has no weights" + (f": {self.notes[0]}" if self.notes else ".")
        wanted = [row for row in self.rows if row.code not in FIXED]
        if not wanted and not self.because("E11"):
            kinds = "a statistic, an integer, a string or a table"
            return f"There is nothing to train in {self.name!r}: each of its {_count(t['weights'], 'value')} is {kinds}."
        if wanted and all(row.trains for row in wanted):
            rest = len(self.rows) - len(wanted)
            return f"Everything trains: {counts}." + (f" The other {rest} are statistics or no floats." if rest else "")
        for code in SURPRISES:
            stuck = [r for r in self.folded if r.code == code]
            if stuck:
                return self._sentence(f"{_count(sum(r.weights for r in stuck), 'weight')} set to train will not move", stuck)
        stuck = [row for row in self.folded if row.code and row.code not in FIXED]
        stuck = stuck or [row for row in self.folded if row.code]
        if not self.trains:
            weights, parameters = _count(t["weights"], "weight"), _count(t["parameters"], "parameter")
            return self._sentence(f"Nothing trains ({weights}, {parameters})", stuck)
        return self._sentence(f"{counts} train. What does not", stuck)

    @staticmethod
    def _sentence(start: str, stuck: Sequence[Row]) -> str:
        by_code: dict[tuple[str, str], list[Row]] = {}
        for row in stuck:
            by_code.setdefault((row.code, row.cause.culprit if row.cause else ""), []).append(row)
        group = max(by_code.values(), key=lambda rows: sum(r.weights for r in rows))
        row = max(group, key=lambda r: r.weights)
        more = len(stuck) - 1
        text = f"{start}: {row.label or row.path!r}: {row.reason} ({row.code})"
        text += f", and {more} more" if more else ""
        return text + (f". Mend: {row.mend}" if row.mend else ".")

    def to_json(self) -> str:
        """Everything as JSON: first_line, totals, notes, and a list of rows."""
        rows = [
            {
                "path": r.path,
                "trains": r.trains,
                "parameters": r.parameters,
                "shape": list(r.shape) if r.shape is not None else None,
                "dtype": r.dtype,
                "code": r.code,
                "reason": r.reason,
                "culprit": r.cause.culprit if r.cause else "",
                "mend": r.mend,
            }
            for r in self.rows
        ]
        whole: dict[str, Any] = {"name": self.name, "first_line": self.first_line, "totals": self.totals}
        return json.dumps({**whole, "notes": list(self.notes), "rows": rows}, indent=1)

    def markdown(self) -> str:
        """The folded table as Markdown, under its first line."""
        lines = [f"**{self.first_line}**", ""]
        if not self._short:
            lines += ["| weights | parameters | trains | reason | mend |", "|---|---:|---|---|---|"]
            for row in self.folded:
                mend = f"`{row.mend}`" if row.mend else ""
                why = f"{row.code}: {row.reason}".replace("|", "\\|") if row.code else ""
                lines.append(f"| {_label(row)} | {row.parameters:,} | {_yes(row)} | {why} | {mend} |")
            lines.append("")
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{html.escape(_label(r))}</td><td style='text-align:right'>{r.parameters:,}</td><td>{_yes(r)}</td>"
            f"<td>{html.escape(f'{r.code}: {r.reason}' if r.code else '')}</td><td><code>{html.escape(r.mend)}</code></td></tr>"
            for r in (() if self._short else self.folded)
        )
        head = "<tr><th>weights</th><th>parameters</th><th>trains</th><th>reason</th><th>mend</th></tr>"
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        table = f"<table>{head}{cells}</table>" if cells else ""
        return f"<p><b>{html.escape(self.first_line)}</b></p>{table}{f'<ul>{notes}</ul>' if notes else ''}"

    @property
    def _short(self) -> bool:
        """Whether the first line says all: every weight trains, or is a statistic or no float."""
        return all(row.trains or row.code in {"E4", "E5"} for row in self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.first_line, style="bold")
        if not self._short:
            table = Table(box=None, pad_edge=False)
            table.add_column("weights", overflow="fold")
            table.add_column("parameters", justify="right")
            table.add_column("trains")
            table.add_column("reason", overflow="fold", ratio=2)
            table.add_column("mend", overflow="fold", ratio=2)
            rows = self.folded
            for row in rows[:MOST_ROWS]:
                why = Text(f"{row.code} {row.reason}" if row.code else "")
                mark = Text(_yes(row), style="green" if row.trains else "red")
                table.add_row(Text(_label(row)), f"{row.parameters:,}", mark, why, Text(row.mend, style="cyan"))
            yield table
            if len(rows) > MOST_ROWS:
                yield Text(f"... {len(rows) - MOST_ROWS} more rows (to_json() has every one)", style="dim")
        for note in self.notes:
            yield Text(f"- {note}")

    def __str__(self) -> str:
        file = io.StringIO()
        Console(file=file, width=150).print(self)
        return file.getvalue().rstrip()

    __repr__ = __str__


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _yes(row: Row) -> str:
    return "yes" if row.trains else "no"


def _label(row: Row) -> str:
    name = row.label or row.path
    return name if row.weights == 1 else f"{name} ({row.weights} weights)"


def _fate(row: Row) -> tuple[bool, str, str]:
    return row.trains, row.code, row.cause.mend if row.cause else ""


def _fold(rows: list[Row], above: str) -> Iterator[Row]:
    """`rows`, all below the path `above`, with whole layers of one fate folded into one row each."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        head = _head(row.path, above)
        groups.setdefault(head or row.path, []).append(row)
    for head, group in groups.items():
        if len(group) == 1:
            yield group[0]
            continue
        # Statistics and integers never train: they do not keep a frozen tower from being one row.
        telling = [row for row in group if row.code not in FIXED] or group
        if all(_fate(a) == _fate(b) for a, b in pairwise(telling)):
            weights, parameters = sum(r.weights for r in group), sum(r.parameters for r in group)
            yield replace(telling[0], path=head, weights=weights, parameters=parameters, shape=None, dtype="")
        else:
            yield from _runs(list(_fold(group, head)), head)


def _runs(rows: list[Row], head: str) -> Iterator[Row]:
    """`rows` below the layer `head`, with long runs of neighbours of one fate as one; the mend of a run is that of the layer."""
    if len(rows) <= MOST_NEIGHBOURS:
        yield from rows
        return
    for _, run in groupby(rows, key=_fate):
        group = list(run)
        if len(group) == 1:
            yield group[0]
            continue
        ends = [row.path[len(head) + 1 :] for row in (group[0], group[-1])]
        weights, parameters = sum(r.weights for r in group), sum(r.parameters for r in group)
        label = f"{head}: {ends[0]} ... {ends[1]}"
        yield replace(group[0], path=head, weights=weights, parameters=parameters, shape=None, dtype="", label=label)


def _head(path: str, above: str) -> str:
    """The path of the layer right below `above` that `path` is in; empty where it is a weight of `above` itself."""
    rest = path[len(above) + 1 :] if above else path
    first, slash, _ = rest.partition("/")
    if not slash:
        return ""
    return f"{above}/{first}" if above else first
