"""`thaw inspect HANDLE`: signatures, inner layers, ops, and the verdict."""

import json
from typing import Annotated

import typer

from thaw.cli import Backend


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="inspect")(inspect)


def inspect(
    handle: Annotated[str, typer.Argument(help="Folder, file or address of the artifact.")],
    tags: Annotated[str | None, typer.Option(help="Tags of the metagraph, joined by commas.")] = None,
    signature: Annotated[
        str | None, typer.Option(help="Signature whose ops to count; default: __call__ or the default one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every inner layer, however many.")] = False,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List what KerasLayer(outputs=..., inputs=...) can name, instead.")
    ] = False,
    backend: Backend = None,
) -> None:
    """Print signatures, inner layers, ops, and whether it can be fine-tuned."""
    del backend  # chosen before Keras was imported, in thaw_command
    from rich.console import Console

    from thaw.inspection import inspect as look
    from thaw.inspection import list_tensors
    from thaw.report.inspection import render

    chosen = [t for t in tags.split(",") if t] if tags is not None else None
    if tensors:
        rows = list_tensors(handle, tags=chosen, signature=signature)
        if as_json:
            typer.echo(json.dumps([{"name": name, "op": op} for name, op in rows], indent=1))
        else:
            width = max((len(op) for _, op in rows), default=0)
            for name, op in rows:
                typer.echo(f"{op:{width}}  {name}")
        return
    found = look(handle, tags=chosen, signature=signature)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        Console(soft_wrap=False).print(render(found, every_layer=every))
