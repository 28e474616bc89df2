"""Histories of training as CSV and as a picture. Imports matplotlib (extra `finetune`) when a picture is drawn."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thaw.errors import MissingLibraryError

History = Sequence[Mapping[str, float]]
"""One mapping an epoch: "epoch" (from 1), "loss", "accuracy", "val_loss", "val_accuracy" ..."""


def write_csv(path: Path, history: History) -> None:
    """Writes one row an epoch, with a column for every figure that any epoch has."""
    columns = list(dict.fromkeys(key for row in history for key in row)) or ["epoch"]
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
    partial.replace(path)


def figure_class() -> Any:
    """Matplotlib's class of figures.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingLibraryError("matplotlib", "Drawing curves", "finetune") from None
    return Figure


def draw(path: Path, histories: Mapping[str, History]) -> None:
    """Draws loss and accuracy over epochs as a PNG, training dashed and validation solid, one colour a history."""
    figure = figure_class()(figsize=(9, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            for key, style, what in ((metric, "--", "training"), (f"val_{metric}", "-", "validation")):
                rows = [(row["epoch"], row[key]) for row in history if key in row]
                if rows:
                    label = f"{name}, {what}" if name else what
                    axes.plot(*zip(*rows, strict=True), style, color=f"C{index}", marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
