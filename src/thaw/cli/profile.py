"""`thaw profile HANDLE|MODEL`: time per layer, forward and backward, and the op that dominates."""

import json
from pathlib import Path
from typing import Annotated

import typer

from thaw.cli import Backend


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="profile")(profile)


def profile(
    model: Annotated[str, typer.Argument(help="Handle of an artifact, or a .keras file that was saved with thaw or Keras.")],
    batch: Annotated[int, typer.Option(min=1, help="Examples in the batch, which is made up.")] = 8,
    size: Annotated[
        int | None, typer.Option(min=1, help="Length of axes that the model leaves open: pixels (224), length of a series (32).")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many layers, those that take most.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, every layer.")] = False,
    backend: Backend = None,
) -> None:
    """Print where the time of a training step goes, layer by layer."""
    del backend  # chosen before Keras was imported, in thaw_command
    from rich.console import Console

    from thaw.model_file import load_model
    from thaw.profiling import profile as measure
    from thaw.report.profile import render

    file = Path(model)
    opened = load_model(file) if file.suffix in {".keras", ".h5", ".hdf5"} and file.is_file() else model
    found = measure(opened, batch=batch, size=size)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        Console(soft_wrap=False).print(render(found, top=top))
