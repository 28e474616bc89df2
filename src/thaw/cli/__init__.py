"""The command `thaw`: one file a subcommand. Errors of thaw end with a message and exit code 2, never with a traceback."""

import os
import sys
from typing import Annotated

import typer

from thaw.errors import ThawError

app = typer.Typer(
    name="thaw",
    help="Open pretrained TensorFlow-era models as Keras 3 models: inspect, explain, profile, fine-tune, convert, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Backend = Annotated[
    str | None, typer.Option("--backend", help="jax, torch or tensorflow; default: KERAS_BACKEND, or what is installed.")
]


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Open pretrained TensorFlow-era models as Keras 3 models: inspect, explain, profile, fine-tune, convert, export."""
    if debug:
        os.environ["THAW_DEBUG"] = "1"


def main() -> None:
    """The entry point of the command `thaw`."""
    from thaw.cli import convert, explain, export, finetune, inspect, profile

    if not app.registered_commands:
        for command in (inspect, explain, profile, finetune, convert, export):
            command.add_to(app)
    try:
        app()
    except ThawError as error:
        if os.environ.get("THAW_DEBUG"):
            raise
        print(f"thaw: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
