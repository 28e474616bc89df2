"""`thaw export MODEL.keras OUT`: fine-tuned weights back in the format that they came from."""

from pathlib import Path
from typing import Annotated

import typer

from thaw.cli import Backend


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="export")(export)


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A model that was saved with thaw.")],
    out: Annotated[Path, typer.Argument(help="The folder to make; of a frozen graph, the .pb file.")],
    layer: Annotated[
        str | None, typer.Option(help="Only the thaw.KerasLayer of that name, without what stands around it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    backend: Backend = None,
) -> None:
    """Write fine-tuned weights back into the format that they came from, for whoever serves it."""
    del backend  # chosen before Keras was imported, in thaw_command
    from thaw.errors import UnknownLayerError
    from thaw.export import export as write
    from thaw.layer import KerasLayer
    from thaw.model_file import load_model

    opened = load_model(model)
    chosen = opened
    if layer is not None and opened.name != layer:
        names = [inner.name for inner in opened.layers]
        if layer not in names:
            raise UnknownLayerError(layer, names, opened.name)
        chosen = opened.get_layer(layer)
    write(chosen, out, overwrite=overwrite, progress=True)
    ours = chosen if isinstance(chosen, KerasLayer) else next(x for x in chosen.layers if isinstance(x, KerasLayer))
    typer.echo(f"wrote {out}: {ours.resolved_object.format}, {ours.count_params():,} parameters")
