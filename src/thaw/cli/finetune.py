"""`thaw finetune HANDLE DATA -o OUT`: the main job."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from thaw.cli import Backend


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(name="finetune")(finetune)


def finetune(
    handle: Annotated[str, typer.Argument(help="Folder, file or address of the module.")],
    data: Annotated[str, typer.Argument(help="Folder with one subfolder of images a class, or a .csv/.jsonl/.parquet table.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")],
    label: Annotated[str, typer.Option(help="Column of labels.")] = "label",
    text: Annotated[str | None, typer.Option(help="Column of texts.")] = None,
    validation: Annotated[str | None, typer.Option(help="Validation set: a second folder or table.")] = None,
    split: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share held out where there is no validation set.")] = 0.2,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 1e-3 for the head alone, 1e-4 with --unfreeze.")] = None,
    unfreeze: Annotated[
        list[str] | None,
        typer.Option(help="What trains besides the head: '*', a name, a glob, '-3:' (the last three); may be repeated."),
    ] = None,
    probe_epochs: Annotated[int, typer.Option(min=0, help="Epochs with the head alone before --unfreeze takes effect.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    signature: Annotated[str | None, typer.Option(help="Signature of the module.")] = None,
    output_key: Annotated[str | None, typer.Option(help="Output that the head stands on.")] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Tensor that the head stands on; default: what feeds a classifier's last layer, else the output."),
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels, for a module that leaves it open.")] = None,
    value_range: Annotated[str | None, typer.Option(help="Lowest and highest pixel value, as '0,1' or '0,255'.")] = None,
    batch_norm: Annotated[str, typer.Option(help="auto, frozen or training.")] = "auto",
    dtype_policy: Annotated[
        str, typer.Option(help="What the module computes in: float32, mixed_bfloat16, mixed_float16 or float64.")
    ] = "float32",
    keep: Annotated[
        float,
        typer.Option(min=0, help="Pull what trains in the module to where it started, against forgetting: 0.01 to 1 is usual."),
    ] = 0.0,
    layer_decay: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Multiple of the learning rate from each layer to the next lower.")
    ] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the job in OUT.")] = False,
    backend: Backend = None,
) -> None:
    """Fine-tune a module on your data; Ctrl-C saves what there is."""
    del backend  # chosen before Keras was imported, in thaw_command
    from thaw.compilation_cache import keep_compiled
    from thaw.finetune.job import Options
    from thaw.finetune.job import finetune as run

    keep_compiled()

    options = Options(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        unfreeze=tuple(unfreeze or ()),
        probe_epochs=probe_epochs,
        seed=seed,
        split=split,
        label=label,
        text=text,
        validation=validation,
        image_size=image_size,
        value_range=_range(value_range),
        signature=signature,
        output_key=output_key,
        features=features,
        batch_norm=batch_norm,
        dtype_policy=dtype_policy,
        keep=keep,
        layer_decay=layer_decay,
    )
    # A bar that is drawn over and over belongs on a terminal; elsewhere one line an epoch.
    bar = 1 if sys.stdout.isatty() else 2
    result = run(handle, data, out, options, resume=resume, say=lambda line: typer.echo(line, err=True), verbose=bar)
    last = result.history[-1] if result.history else {}
    score = f", validation accuracy {last['val_accuracy']:.3f}" if "val_accuracy" in last else ""
    if result.drift is not None and result.drift.examples:
        score += f"; the module's features moved by {result.drift.features:.1%}"
    typer.echo(f"{'done' if result.finished else 'interrupted'}: {len(result.history)} epochs{score}; see {out / 'report.md'}")
    if not result.finished:
        raise typer.Exit(130)


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--value-range is {text!r}; expected two numbers, as '0,255'") from None
    return low, high
