"""`thaw convert IN OUT.keras`: a legacy model in Keras 3's own format."""

from pathlib import Path
from typing import Annotated

import typer

from thaw.cli import Backend


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="convert")(convert)


def convert(
    handle: Annotated[
        str, typer.Argument(metavar="IN", help="A .h5 or .keras file, SavedModel, TF1 Hub module or frozen graph.")
    ],
    out: Annotated[Path, typer.Argument(help="The file to write; its name ends with .keras.")],
    backend: Backend = None,
) -> None:
    """Write a legacy model in Keras 3's own format."""
    del backend  # chosen before Keras was imported, in thaw_command
    if out.suffix != ".keras":
        raise typer.BadParameter(f"{str(out)!r} does not end with .keras; name the output so")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"the folder {str(out.parent)!r} does not exist; make it, or name another")
    from thaw.formats.keras_file import is_of_thaw
    from thaw.layer import KerasLayer
    from thaw.model_file import load_model

    model = load_model(handle, plain=True)
    partial = out.with_name(f".{out.stem}.partial.keras")
    try:
        model.save(partial)
        ours = is_of_thaw(partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    how = "by its graph" if isinstance(model, KerasLayer) else "as native layers"
    if ours:
        # A graph, or a file that was saved by thaw before: only thaw has what is in them.
        how += " (open it after `import thaw`)"
    typer.echo(f"wrote {out}: {len(model.layers)} layers, {model.count_params():,} parameters, {how}")
