"""The user's data as examples and batches: folders of images and tables of every kind, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.making import image_folder, table
from thaw.errors import (
    DataNotFoundError,
    MissingColumnError,
    MissingValuesError,
    TooFewClassesError,
    UnreadableImageError,
)
from thaw.finetune.data import Batches, Images, decode_image, read_data


def test_folder_of_class_folders_with_a_share_of_each_class_held_out(tmp_path: Path) -> None:
    data = read_data(image_folder(tmp_path, {"tabby cat": 10, "dog": 5}), split=0.2)
    assert data.classes == ("dog", "tabby cat")
    assert np.bincount(data.train.labels).tolist() == [4, 8]
    assert np.bincount(data.validation.labels).tolist() == [1, 2]
    assert not set(data.train.inputs) & set(data.validation.inputs)


def test_the_split_follows_the_seed(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, {"a": 20, "b": 20})
    held = [set(read_data(folder, seed=seed).validation.inputs) for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("other", ["val", "Validation", "test"])
def test_folder_with_train_and_validation_folders(other: str, tmp_path: Path) -> None:
    image_folder(tmp_path / "train", {"a": 3, "b": 3})
    image_folder(tmp_path / other, {"a": 1, "b": 2})
    data = read_data(tmp_path)
    assert len(data.train) == 6 and len(data.validation) == 3


def test_validation_folder_beside_the_training_folder(tmp_path: Path) -> None:
    data = read_data(image_folder(tmp_path / "t", {"a": 3, "b": 3}), validation=image_folder(tmp_path / "v", {"b": 2}))
    assert len(data.train) == 6 and data.validation.labels.tolist() == [1, 1]


def test_leavings_of_file_managers_are_no_images(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 2, "b": 2, ".thumbnails": 2})
    (tmp_path / "a" / "._000.png").write_bytes(b"not an image")
    assert len(read_data(tmp_path, split=0.5).train) == 2


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", ".png"), ("RGB", ".jpg"), ("RGB", ".JPEG"), ("P", ".png"), ("P", ".gif"), ("RGBA", ".png"), ("1", ".bmp"),
     ("CMYK", ".jpg"), ("LA", ".png"), ("RGB", ".webp")],
)  # fmt: skip
def test_images_of_every_mode_and_suffix(mode: str, suffix: str, tmp_path: Path) -> None:
    data = read_data(image_folder(tmp_path, {"a": 2, "b": 2}, mode=mode, suffix=suffix), split=0.5)
    for channels in (1, 3):
        image = decode_image(data.train.inputs[0], (6, 5), channels)
        assert image.shape == (6, 5, channels) and image.dtype == np.uint8 and image.max() > 100 > image.min()


def test_images_of_16_bits_keep_their_range(tmp_path: Path) -> None:
    pixels = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(str(tmp_path / "a.png"), (8, 8), 1)[..., 0], pixels >> 8)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    picture = Image.fromarray(np.uint8([[0, 255], [0, 255]])).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    assert decode_image(str(tmp_path / "a.png"), (2, 2), 1)[..., 0].tolist() == [[0, 0], [255, 255]]


def test_every_unreadable_image_is_named_before_training(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 2, "b": 2})
    for name in ("a/x.png", "b/y.jpg"):
        (tmp_path / name).write_bytes(b"\x89PNG damaged")
    data = read_data(tmp_path, split=0.01)
    images = Images((8, 8), 1, 0.0, 1.0, "float32")
    with pytest.raises(UnreadableImageError, match=r"2 file\(s\).*x\.png.*y\.jpg"):
        images.check(np.concatenate([data.train.inputs, data.validation.inputs]), lambda n: None)


@pytest.mark.parametrize(("low", "high", "dtype"), [(0.0, 1.0, "float32"), (-1.0, 1.0, "float32"), (0.0, 255.0, "uint8")])
def test_pixels_lie_in_the_range_that_the_module_takes(low: float, high: float, dtype: str, tmp_path: Path) -> None:
    Image.fromarray(np.uint8([[0, 255]])).save(tmp_path / "a.png")
    batch = Images((1, 2), 1, low, high, dtype)(np.array([str(tmp_path / "a.png")], object))
    assert batch.dtype == dtype and batch.ravel().tolist() == [low, high]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables_of_numbers_and_of_texts(suffix: str, tmp_path: Path) -> None:
    labels = [3, 10, 3, 10]
    numbers = read_data(table(tmp_path / f"n{suffix}", {"x": [1, 2, 3, 4], "y": [0.5] * 4, "label": labels}), split=0.5)
    assert numbers.classes == ("3", "10") and numbers.train.kind == "numbers" and list(numbers.train.inputs) == ["x", "y"]
    texts = read_data(table(tmp_path / f"t{suffix}", {"words": ["a b", "c", "", "é"], "label": labels}), text="words", split=0.5)
    assert texts.train.kind == "texts"
    assert {*texts.train.inputs, *texts.validation.inputs} == {b"a b", b"c", b"", "é".encode()}


def test_labels_and_texts_of_a_csv_stay_as_they_stand_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufefflabel,text\nNA,null\n007,1.50\nNA,x\n007,y\n".encode())
    data = read_data(tmp_path / "a.csv", split=0.5)
    assert data.classes == ("007", "NA")
    assert {*data.train.inputs, *data.validation.inputs} == {b"null", b"1.50", b"x", b"y"}


def test_validation_table(tmp_path: Path) -> None:
    train = table(tmp_path / "a.csv", {"x": [1, 2], "label": ["a", "b"]})
    data = read_data(train, validation=table(tmp_path / "b.csv", {"x": [3], "label": ["b"]}))
    assert len(data.train) == 2 and data.validation.labels.tolist() == [1]


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        pytest.param(lambda p: p / "nothing", DataNotFoundError, "does not exist", id="absent"),
        pytest.param(lambda p: p, DataNotFoundError, "no subfolder with images", id="empty-folder"),
        pytest.param(lambda p: write(p / "a.xlsx", b""), DataNotFoundError, r"unknown kind \(\.xlsx\)", id="unknown-kind"),
        pytest.param(lambda p: image_folder(p, {"a": 3}), TooFewClassesError, "1 class", id="one-class-of-images"),
        pytest.param(lambda p: write(p / "a.csv", b""), DataNotFoundError, "cannot be read as a table", id="empty-csv"),
        pytest.param(lambda p: write(p / "a.csv", b"x,label\n"), DataNotFoundError, "has no rows", id="csv-without-rows"),
        pytest.param(lambda p: write(p / "a.jsonl", b"{"), DataNotFoundError, "cannot be read as a table", id="broken-jsonl"),
        pytest.param(lambda p: write(p / "a.parquet", b"PAR"), DataNotFoundError, "cannot be read", id="broken-parquet"),
        pytest.param(lambda p: write(p / "a.csv", b"x,label\n1,a\n2,a\n"), TooFewClassesError, "1 class", id="one-class"),
        pytest.param(lambda p: write(p / "a.csv", b"x,y\n1,a\n"), MissingColumnError, "no column 'label'", id="no-label"),
        pytest.param(lambda p: write(p / "a.csv", b"x,label\n1,a\n,b\n"), MissingValuesError, r"'x'.*row\(s\): 2", id="nan"),
        pytest.param(lambda p: write(p / "a.csv", b"x,label\n1,a\n2,\n"), MissingValuesError, "'label'", id="label-missing"),
        pytest.param(lambda p: write(p / "a.csv", b"n,label\nq,a\nr,b\n"), MissingColumnError, "no numeric", id="no-numbers"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used(make, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        read_data(make(tmp_path))


def test_missing_text_column(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"no column 'words'.*--text"):
        read_data(table(tmp_path / "a.csv", {"text": ["a"], "label": ["x"]}), text="words")


@pytest.mark.parametrize("kind", ["images", "table"])
def test_validation_data_with_a_class_of_their_own(kind: str, tmp_path: Path) -> None:
    if kind == "images":
        train, held = image_folder(tmp_path / "t", {"a": 2, "b": 2}), image_folder(tmp_path / "v", {"c": 2})
    else:
        train = table(tmp_path / "t.csv", {"x": [1, 2], "label": ["a", "b"]})
        held = table(tmp_path / "v.csv", {"x": [1], "label": ["c"]})
    with pytest.raises(DataNotFoundError, match="'c'"):
        read_data(train, validation=held)


def test_T10_the_order_of_an_epoch_depends_on_seed_and_epoch_only(tmp_path: Path) -> None:
    data = read_data(table(tmp_path / "a.csv", {"x": np.arange(20), "label": list("ab") * 10}), split=0.1)

    def order(seed: int, epochs: list[int]) -> list[list[float]]:
        batches = Batches(data.train, lambda inputs: inputs["x"], 7, shuffle=True, seed=seed)
        for epoch in epochs:
            batches.begin(epoch)
        return [batches[i][0].tolist() for i in range(len(batches))]

    assert order(0, [0, 1, 2]) == order(0, [2])
    assert order(0, [2]) != order(0, [1]) and order(0, [2]) != order(1, [2])
    assert sorted(x for batch in order(0, [2]) for x in batch) == sorted(data.train.inputs["x"].tolist())
