"""Makes the data that tests of fine-tuning read: folders of small images, and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image


def image_folder(folder: Path, classes: Mapping[str, int], *, mode: str = "L", suffix: str = ".png", size: int = 8) -> Path:
    """One subfolder a class with that many images: each class has stripes of its own direction or width, under noise."""
    random = np.random.default_rng(0)
    for index, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = np.zeros((size, size), "float32")
            image[:: 2 + index // 2] = 200
            pixels = (image.T if index % 2 else image) + random.uniform(0, 55, (size, size))
            Image.fromarray(pixels.astype("uint8")).convert(mode).save(folder / name / f"{number:03}{suffix}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def table(file: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Path:
    """A table of these columns, in the format that the file's name says."""
    frame = pd.DataFrame(dict(columns))
    if file.suffix == ".csv":
        frame.to_csv(file, index=False)
    elif file.suffix == ".jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_parquet(file)
    return file
