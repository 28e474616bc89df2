"""Data, output folders and schedules that the fine-tuning job refuses."""

from pathlib import Path

import keras
import numpy as np

import thaw
from finetune.making import image_folder, table
from provoke import Row
from thaw.errors import (
    DataMismatchError,
    DataNotFoundError,
    MissingColumnError,
    MissingValuesError,
    OutputFolderError,
    ScheduleError,
    TooFewClassesError,
    UnreadableImageError,
)
from thaw.finetune.data import decode_image, read_data
from thaw.finetune.job import finetune

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"


def one_class(tmp_path: Path) -> None:
    read_data(image_folder(tmp_path / "data", {"cats": 2}))


def not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"GIF? no")
    decode_image(str(tmp_path / "a.png"), (8, 8), 1)


def column_not_there(tmp_path: Path) -> None:
    read_data(table(tmp_path / "a.csv", {"x": [1, 2], "class": ["a", "b"]}))


def gap_in_a_column(tmp_path: Path) -> None:
    read_data(table(tmp_path / "a.csv", {"x": [1, None, 3, None], "label": ["a", "b", "a", "b"]}))


def numbers_for_images(tmp_path: Path) -> None:
    rows = {"x": np.arange(8.0), "label": list("abababab")}
    finetune(str(DIGITS), table(tmp_path / "a.csv", rows), tmp_path / "out")


def folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    finetune(str(DIGITS), tmp_path / "data", tmp_path)


def phases_without_an_end(_: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    thaw.schedule(model, [thaw.Phase(), thaw.Phase()])


ROWS = [
    Row(
        DataNotFoundError,
        lambda tmp_path: read_data(tmp_path),
        "holds no subfolder with images",
        "Expected a folder with one subfolder of images a class",
        "Name such a folder or table",
    ),
    Row(
        TooFewClassesError,
        one_class,
        "have 1 class(es): 'cats'",
        "Expected at least two",
        "Add examples of another class",
    ),
    Row(
        UnreadableImageError,
        not_an_image,
        "1 file(s) cannot be decoded as images",
        "Expected JPEG, PNG",
        "Remove or repair them",
    ),
    Row(
        MissingColumnError,
        column_not_there,
        "has no column 'label'",
        "Expected one of those that it has: 'x', 'class'",
        "with --label",
    ),
    Row(
        MissingValuesError,
        gap_in_a_column,
        "lacks a value in 2 row(s): 2, 4 (the first is 1)",
        "Expected a label in every row, and a finite number",
        "Fill in or remove these rows",
    ),
    Row(
        DataMismatchError,
        numbers_for_images,
        "The data are numbers, which do not fit",
        "Expected what the module takes",
        "Give it images",
    ),
    Row(
        OutputFolderError,
        folder_in_use,
        "is not empty",
        "Expected an empty or new folder",
        "Name another folder",
    ),
    Row(
        ScheduleError,
        phases_without_an_end,
        "Phase 1 of 2 does not say when it ends",
        "Expected epochs=, steps= or until=",
        "Add epochs= to phase 1",
    ),
]
