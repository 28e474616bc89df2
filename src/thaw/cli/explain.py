"""`thaw explain HANDLE|MODEL`: weight by weight, trains or not, the reason, the mend."""

from pathlib import Path
from typing import Annotated

import typer

from thaw.cli import Backend


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="explain")(explain)


def explain(
    model: Annotated[str, typer.Argument(help="Handle of an artifact, or a .keras file that was saved with thaw or Keras.")],
    output: Annotated[
        list[str] | None, typer.Option(help="Name of an output that the loss is made of; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, one row a weight.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
    backend: Backend = None,
) -> None:
    """Print what trains, what does not, why, and what would mend it."""
    del backend  # chosen before Keras was imported, in thaw_command
    from rich.console import Console

    from thaw.explanation import explain as account_of
    from thaw.model_file import load_model

    file = Path(model)
    opened = load_model(file) if file.suffix in {".keras", ".h5", ".hdf5"} and file.is_file() else model
    report = account_of(opened, outputs=output or None)
    if as_json:
        typer.echo(report.to_json())
    elif markdown:
        typer.echo(report.markdown())
    else:
        Console(soft_wrap=False).print(report)
