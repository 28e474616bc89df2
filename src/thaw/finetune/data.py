"""The user's data as batches: a folder of class subfolders of images, or a table of texts or numbers with a label column.

What size, dtype and value range the batches have is decided by `thaw.finetune.fitting`. Shuffling depends on seed and epoch
only, so that a resumed job sees the batches that the uninterrupted one would have seen. Imports keras, pandas, pillow (extras).
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from thaw.errors import (
    DataNotFoundError,
    MissingColumnError,
    MissingLibraryError,
    MissingValuesError,
    TooFewClassesError,
    UnreadableImageError,
)

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"})
TABLES = frozenset({".csv", ".jsonl", ".parquet"})
TRAIN_FOLDERS = ("train", "training")
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
NO_NUMBER = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "-")
"""What stands in a column of numbers where there is none."""
CACHE_BYTES = 2 * 1024**3
"""Decoded images are kept in memory up to this many bytes, and decoded anew each epoch beyond."""


@dataclass(frozen=True)
class Examples:
    """Examples not yet decoded.

    Attributes:
        kind: "images", "texts" or "numbers".
        inputs: paths (images), object array of UTF-8 bytes (texts), or column name -> array (numbers).
        labels: class index of each, int32 (n,).
    """

    kind: str
    inputs: Any
    labels: np.ndarray

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Examples":
        """The examples at those positions."""
        inputs = {k: v[rows] for k, v in self.inputs.items()} if isinstance(self.inputs, dict) else self.inputs[rows]
        return Examples(self.kind, inputs, self.labels[rows])


@dataclass(frozen=True)
class Data:
    """Training and validation examples, and the names of the classes by index."""

    train: Examples
    validation: Examples
    classes: tuple[str, ...]
    source: str


def read_data(
    path: str | Path,
    *,
    label: str = "label",
    text: str | None = None,
    validation: str | Path | None = None,
    split: float = 0.2,
    seed: int = 0,
) -> Data:
    """The data at `path`.

    Args:
        path: a folder of class subfolders (or with train/ and val/ of such), or a .csv, .jsonl or .parquet table.
        label: the table's column of labels.
        text: the table's column of texts; without it a column named "text", else every numeric column is an input.
        validation: a second folder or table; without it a share `split` of each class is held out.
        split: share of each class that is held out, in (0, 1).
        seed: of the choice of the held-out examples.

    Raises:
        DataError: nothing usable is there; says what was found.
    """
    path = Path(path)
    if not path.exists():
        raise DataNotFoundError(path, "does not exist")
    if path.is_dir():
        return _read_folders(path, validation, split, seed)
    if path.suffix.lower() in TABLES:
        return _read_tables(path, label, text, validation, split, seed)
    raise DataNotFoundError(path, f"is a file of an unknown kind ({path.suffix or 'no suffix'})")


def _read_folders(path: Path, validation: str | Path | None, split: float, seed: int) -> Data:
    below = {p.name.lower(): p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")}
    train_folder = next((below[n] for n in TRAIN_FOLDERS if n in below), None)
    held_folder = next((below[n] for n in VALIDATION_FOLDERS if n in below), None)
    if train_folder is not None and set(below) <= {*TRAIN_FOLDERS, *VALIDATION_FOLDERS}:
        path, validation = train_folder, validation or held_folder
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and _images(p))
    if not names:
        raise DataNotFoundError(path, "holds no subfolder with images")
    if len(names) < 2:
        raise TooFewClassesError(path, names)
    train = _folder_examples(path, names)
    if validation is None:
        return _split(train, tuple(names), split, seed, str(path))
    held = Path(validation)
    if not held.is_dir():
        raise DataNotFoundError(held, "is not a folder")
    unknown = sorted(p.name for p in held.iterdir() if p.is_dir() and _images(p) and p.name not in names)
    if unknown:
        raise DataNotFoundError(held, f"holds the classes {unknown}, which the training folder lacks")
    examples = _folder_examples(held, names)
    if not len(examples):
        raise DataNotFoundError(held, "holds no subfolder with images")
    return Data(train, examples, tuple(names), str(path))


def _images(folder: Path) -> list[Path]:
    """The images right in a folder; hidden ones are leavings of file managers."""
    if folder.name.startswith("."):
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and not p.name.startswith(".") and p.is_file())


def _folder_examples(path: Path, names: Sequence[str]) -> Examples:
    files, labels = [], []
    for index, name in enumerate(names):
        found = _images(path / name) if (path / name).is_dir() else []
        files += [str(f) for f in found]
        labels += [index] * len(found)
    return Examples("images", np.array(files, dtype=object), np.array(labels, "int32"))


def _table(path: Path, label: str, text: str | None) -> Any:
    """The table at `path`; labels and texts as they stand there: "NA" and "007" stay what they are."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingLibraryError("pandas", "Reading a table", "finetune") from None
    try:
        if path.suffix.lower() == ".csv":
            verbatim = {label: str, text or "text": str}
            columns = pd.read_csv(path, encoding="utf-8-sig", nrows=0).columns
            empty = {column: NO_NUMBER for column in columns if column not in verbatim}
            return pd.read_csv(path, encoding="utf-8-sig", dtype=verbatim, na_values=empty, keep_default_na=False)
        if path.suffix.lower() == ".jsonl":
            lines = path.read_text("utf-8-sig").splitlines()
            return pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        return pd.read_parquet(path)
    except ImportError:
        raise MissingLibraryError("pyarrow", "Reading a Parquet file", "finetune") from None
    except Exception as error:
        raise DataNotFoundError(path, f"cannot be read as a table ({type(error).__name__}: {error})") from error


def _read_tables(path: Path, label: str, text: str | None, validation: str | Path | None, split: float, seed: int) -> Data:
    table = _table(path, label, text)
    columns = [str(c) for c in table.columns]
    if label not in columns:
        raise MissingColumnError(path, label, columns, "--label")
    if text is not None and text not in columns:
        raise MissingColumnError(path, text, columns, "--text")
    if text is None and "text" in columns:
        text = "text"
    if not len(table):
        raise DataNotFoundError(path, "has no rows")
    classes = tuple(sorted(set(_labels(path, table, label)), key=_in_order))
    if len(classes) < 2:
        raise TooFewClassesError(path, classes)
    train = _table_examples(path, table, label, text, classes)
    if validation is None:
        return _split(train, classes, split, seed, str(path))
    held = Path(validation)
    if not held.exists():
        raise DataNotFoundError(held, "does not exist")
    other = _table(held, label, text)
    for column in [label, *([text] if text else list(train.inputs))]:
        if column not in other.columns:
            raise MissingColumnError(held, column, [str(c) for c in other.columns], "--label or --text")
    unknown = sorted(set(_labels(held, other, label)) - set(classes))
    if unknown:
        raise DataNotFoundError(held, f"holds the labels {unknown}, which the training table lacks")
    return Data(train, _table_examples(held, other, label, text, classes), classes, str(path))


def _labels(path: Path, table: Any, label: str) -> list[str]:
    """The labels as strings.

    Raises:
        MissingValuesError: a row has none.
    """
    values = table[label].tolist()
    missing = [row for row, v in enumerate(values) if v is None or v != v or v == ""]
    if missing:
        raise MissingValuesError(path, label, missing)
    return [str(v) for v in values]


def _in_order(name: str) -> tuple[int, float, str]:
    """Numbers by size, then names by the alphabet."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _table_examples(path: Path, table: Any, label: str, text: str | None, classes: Sequence[str]) -> Examples:
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[name] for name in _labels(path, table, label)], "int32")
    if text is not None:
        texts = np.empty(len(table), dtype=object)
        texts[:] = [("" if v is None or v != v else str(v)).encode() for v in table[text]]
        return Examples("texts", texts, labels)
    numeric = table.drop(columns=[label]).select_dtypes("number")
    if not len(numeric.columns):
        raise MissingColumnError(path, "text", [str(c) for c in table.columns], "--text (there is no numeric column either)")
    inputs = {str(c): numeric[c].to_numpy("float32", na_value=np.nan) for c in numeric.columns}
    for name, values in inputs.items():
        if not np.isfinite(values).all():
            raise MissingValuesError(path, name, np.flatnonzero(~np.isfinite(values)).tolist())
    return Examples("numbers", inputs, labels)


def _split(examples: Examples, classes: tuple[str, ...], split: float, seed: int, source: str) -> Data:
    """Holds a share of each class out, at least one example a class that has two."""
    random = np.random.default_rng(seed)
    held: list[int] = []
    for index in range(len(classes)):
        rows = np.flatnonzero(examples.labels == index)
        count = min(len(rows) - 1, max(1, round(split * len(rows)))) if len(rows) > 1 else 0
        held += random.permutation(rows)[:count].tolist()
    mask = np.zeros(len(examples), bool)
    mask[held] = True
    return Data(examples.take(np.flatnonzero(~mask)), examples.take(np.flatnonzero(mask)), classes, source)


def decode_image(path: str, size: tuple[int, int], channels: int) -> np.ndarray:
    """The image at `path` as uint8 (height, width, channels): the whole of it, upright, resized (bilinear, antialiased).

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingLibraryError("pillow", "Reading images", "finetune") from None
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
                upright = Image.fromarray((np.asarray(upright).astype("uint32") >> 8).astype("uint8"))
            elif upright.mode == "P":  # by way of RGBA, or Pillow warns of transparent colours
                upright = upright.convert("RGBA")
            decoded = upright.convert("L" if channels == 1 else "RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR)
            array = np.asarray(decoded, "uint8")
    except Exception as error:
        raise UnreadableImageError([path]) from error
    return array[..., None] if channels == 1 else array


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of examples for `fit`: shuffled by (seed, epoch), made by `make(inputs)`.

    Args:
        examples: what to draw from.
        make: turns the inputs of a batch into what the model takes.
        batch_size: examples a batch; the last one may be smaller.
        shuffle: whether the order changes with each epoch.
        seed: of the order.
    """

    def __init__(
        self, examples: Examples, make: Callable[[Any], Any], batch_size: int, *, shuffle: bool = False, seed: int = 0
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.examples, self.make, self.batch_size = examples, make, batch_size
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0
        self._order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.examples))
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.examples))

    def begin(self, epoch: int) -> None:
        """Takes the order of that epoch."""
        self.epoch = epoch
        self._order = self._shuffled()

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return math.ceil(len(self.examples) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        """The batch at that place of the epoch's order: inputs and labels."""
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        batch = self.examples.take(rows)
        return self.make(batch.inputs), batch.labels


class Images:
    """Decodes the paths of a batch to float32 (batch, height, width, channels) in the range that the module takes.

    Decoded images are kept as uint8 while they fit into `CACHE_BYTES`.
    """

    def __init__(self, size: tuple[int, int], channels: int, low: float, high: float, dtype: str) -> None:
        self.size, self.channels, self.low, self.high, self.dtype = size, channels, low, high, dtype
        self._cache: dict[str, np.ndarray] = {}
        self._room = CACHE_BYTES

    def __call__(self, paths: np.ndarray) -> np.ndarray:
        """The images at `paths`."""
        images = np.stack([self._decoded(path) for path in paths.tolist()])
        if self.dtype == "uint8":
            return images
        return (images.astype("float32") * ((self.high - self.low) / 255.0) + self.low).astype(self.dtype)

    def _decoded(self, path: str) -> np.ndarray:
        image = self._cache.get(path)
        if image is None:
            image = decode_image(path, self.size, self.channels)
            if self._room >= image.nbytes:
                self._room -= image.nbytes
                self._cache[path] = image
        return image

    def check(self, paths: np.ndarray, tick: Callable[[int], None]) -> None:
        """Decodes every image once, before any training, so that all unreadable ones are named at once."""
        bad = []
        for path in paths.tolist():
            try:
                self._decoded(path)
            except UnreadableImageError:
                bad.append(path)
            tick(1)
        if bad:
            raise UnreadableImageError(bad)
