"""TensorBundles: what we write we read, what TensorFlow wrote we read, and what is damaged is refused."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from formats.sample import FOLDERS, contents, expected, ours, values
from thaw.errors import CorruptFileError, MissingFileError, ThawError
from thaw.formats.bundle import Bundle, slice_key, write_bundle
from thaw.formats.files import DirectoryFiles, MemoryFiles
from thaw.formats.snappy import decompress
from thaw.formats.table import MAGIC, crc32c, masked, read_table, write_table
from thaw.wire.protos import Message, new, parse
from thaw.wire.varint import encoded, varint

STRINGS = np.array([[b"", b"one"], [b"\xff" * 300, b"two"]], object)
TENSORS = {
    "a/.ATTRIBUTES/VARIABLE_VALUE": ("float32", np.arange(6, dtype=np.float32).reshape(2, 3)),
    "b": ("string", STRINGS),
    "c": ("int64", np.int64(-7)),
    "empty": ("float32", np.zeros((0, 4), np.float32)),
    "flags": ("bool", np.array([True, False, True])),
}


def bundle(files: dict[str, bytes]) -> Bundle:
    return Bundle(MemoryFiles(files), "v/v")


def with_entry(change: Callable[[Message], None], key: bytes = b"a/.ATTRIBUTES/VARIABLE_VALUE") -> dict[str, bytes]:
    """A bundle of `TENSORS` in which one entry of the index was changed, its checksums made right again."""
    files = write_bundle("v/v", TENSORS)
    table = read_table(files["v/v.index"], "test")
    entry = parse("BundleEntryProto" if key else "BundleHeaderProto", table[key], "test")
    change(entry)
    files["v/v.index"] = write_table(table | {key: entry.SerializeToString()})
    return files


def resident(path: Path) -> int:
    """KiB of the file that this process holds in memory."""
    places = Path("/proc/self/smaps").read_text().split(str(path))[1:]
    return sum(int(place.split("Rss:")[1].split()[0]) for place in places)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux what is resident")
def test_pages_of_a_file_are_given_back_when_the_next_tensor_is_read(tmp_path: Path) -> None:
    tensors = {name: ("float32", np.full(2**20, i, np.float32)) for i, name in enumerate("abcd")}  # 4 MiB each
    for name, data in write_bundle("v", tensors).items():
        (tmp_path / name).write_bytes(data)
    read = Bundle(DirectoryFiles(tmp_path), "v")
    values = [read.read(name) for name in tensors]
    assert resident(tmp_path / "v.data-00000-of-00001") < 2 * 4096
    for i, value in enumerate(values):  # what was given back comes back
        assert (value == i).all()


def test_what_is_written_is_read() -> None:
    read = bundle(write_bundle("v/v", TENSORS))
    assert sorted(read) == sorted(TENSORS)
    for key, (dtype, value) in TENSORS.items():
        assert (read.dtype(key), read.shape(key)) == (dtype, np.shape(value))
        np.testing.assert_array_equal(read.read(key), value)


def test_every_dtype_that_TensorFlow_writes() -> None:
    answer = expected(FOLDERS["tf2-names"])[0]["outputs"]
    for name, value in values(ours("tf2-names")).items():
        if name.startswith("kinds/"):
            kind = name.removeprefix("kinds/")
            if value.dtype.kind == "c":
                value = np.stack([value.real, value.imag], -1)
            got = [s.decode() for s in value] if kind == "string" else value.astype(np.float64).tolist()
            assert got == answer[kind], name


def test_a_value_is_a_view_of_the_mapped_file(tmp_path: Path) -> None:
    for name, data in write_bundle("v", TENSORS).items():
        (tmp_path / name).write_bytes(data)
    value = Bundle(DirectoryFiles(tmp_path), "v").read("a/.ATTRIBUTES/VARIABLE_VALUE")
    assert not value.flags.owndata
    assert not value.flags.writeable


def test_N5_parts_are_told_by_offset_not_by_name() -> None:
    parts = values(ours("tf1-partitioned"))
    assert list(parts) == [f"embeddings/part_{i}" for i in range(12)]
    np.testing.assert_array_equal(np.concatenate(list(parts.values())), np.arange(72).reshape(24, 3))


def test_N5_a_partitioned_tensor_is_read_whole() -> None:
    read = Bundle(DirectoryFiles(FOLDERS["tf1-partitioned"]), "variables/variables")
    np.testing.assert_array_equal(read.read("embeddings"), np.arange(72).reshape(24, 3))
    np.testing.assert_array_equal(read.read_slice("embeddings", (3, 1), (4, 2)), np.arange(72).reshape(24, 3)[3:7, 1:3])


@pytest.mark.parametrize(
    ("start", "length", "key"),
    [
        (None, None, "006100010101807f"),
        (0, 2, "0061000101018082"),
        (64, 63, "006100010101c040bf"),
        (8192, 1, "006100010101e0200081"),
    ],
    ids=["whole-axis", "small", "two-bytes", "three-bytes"],
)  # fmt: skip
def test_slice_keys_are_TensorFlows(start: int | None, length: int | None, key: str) -> None:
    # tensorflow/core/lib/strings/ordered_code_test.cc: 64 is c0 40, 8192 is e0 20 00
    extents = new("TensorSliceProto")
    extents.extent.add(**({} if start is None else {"start": start, "length": length}))
    assert slice_key("a", extents).hex() == key


@given(st.dictionaries(st.binary(min_size=1, max_size=12), st.binary(max_size=3000), max_size=12))
def test_any_table_round_trips(entries: dict[bytes, bytes]) -> None:
    assert read_table(write_table(entries), "test") == entries


@given(hnp.arrays(hnp.floating_dtypes(sizes=(16, 32, 64)), hnp.array_shapes(min_dims=0, min_side=0, max_dims=3)))
def test_any_tensor_round_trips(value: np.ndarray) -> None:
    value = value.astype(value.dtype.newbyteorder("="))
    np.testing.assert_array_equal(bundle(write_bundle("v/v", {"x": (value.dtype.name, value)})).read("x"), value)


@given(st.data())
def test_a_changed_byte_is_found_out(data: st.DataObject) -> None:
    files = write_bundle("v/v", TENSORS)
    name = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[name]) - 1))
    damaged = bytearray(files[name])
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        read = bundle(files | {name: bytes(damaged)})
        assert all(np.array_equal(read.read(k), v) for k, (_, v) in TENSORS.items())  # a byte of padding
    except ThawError:
        pass


@given(st.data())
def test_random_index_bytes_give_an_error_of_ours(data: st.DataObject) -> None:
    files = write_bundle("v/v", TENSORS)
    files["v/v.index"] = data.draw(st.binary(max_size=120)) + data.draw(st.sampled_from([b"", files["v/v.index"][-48:]]))
    with pytest.raises(CorruptFileError):
        bundle(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: setattr(e, "offset", 10**9), "it ends at byte"),
        (lambda e: setattr(e, "size", 10**12), "has 1000000000000 bytes, not 24"),
        (lambda e: setattr(e, "size", -1), "bytes, not 24"),
        (lambda e: setattr(e, "crc32c", 1), "checksum of the tensor"),
        (lambda e: setattr(e, "shard_id", 5), "lies in shard 5 of 1"),
        (lambda e: setattr(e, "dtype", 77), "dtype77"),
        (lambda e: setattr(e.shape.dim[0], "size", 2**60), "bytes, not"),
        (lambda e: setattr(e.shape.dim[0], "size", -2), "which no value can have"),
        (lambda e: e.slices.add().extent.add(start=0, length=2), "has no tensor"),
    ],
    ids=["offset", "oversized", "negative-size", "checksum", "shard", "dtype", "huge-shape", "negative-shape", "slice"],
)
def test_an_entry_that_lies_is_refused(change: Callable[[Message], None], message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        bundle(with_entry(change)).read("a/.ATTRIBUTES/VARIABLE_VALUE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: setattr(h, "endianness", 1), "big-endian"),
        (lambda h: setattr(h, "num_shards", 10**9), "claims 1000000000 shards"),
    ],
    ids=["endianness", "shards"],
)
def test_a_header_that_lies_is_refused(change: Callable[[Message], None], message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        bundle(with_entry(change, b""))


@pytest.mark.parametrize(
    ("at", "message"),
    [(0, "checksum of the tensor"), (1, "checksum"), (24, "do not fill|checksum|runs over")],
    ids=["floats", "more", "strings"],
)
def test_a_damaged_shard_is_refused(at: int, message: str) -> None:
    files = write_bundle("v/v", TENSORS)
    name = "v/v.data-00000-of-00001"
    files[name] = files[name][:at] + bytes([files[name][at] ^ 0x55]) + files[name][at + 1 :]
    with pytest.raises(CorruptFileError, match=message):
        for key in TENSORS:
            bundle(files).read(key)


def test_strings_with_a_wrong_count_are_refused() -> None:
    with pytest.raises(CorruptFileError, match="claims 1000000000000 strings"):
        bundle(with_entry(lambda e: setattr(e.shape.dim[0], "size", 5 * 10**11), b"b")).read("b")


def test_a_truncated_shard_is_refused() -> None:
    files = write_bundle("v/v", TENSORS)
    files["v/v.data-00000-of-00001"] = files["v/v.data-00000-of-00001"][:20]
    with pytest.raises(CorruptFileError, match="it ends at byte 20"):
        bundle(files).read("a/.ATTRIBUTES/VARIABLE_VALUE")


def test_a_missing_shard_is_named_when_its_value_is_asked_for() -> None:
    files = write_bundle("v/v", TENSORS)
    del files["v/v.data-00000-of-00001"]
    read = bundle(files)
    assert read.shape("c") == ()
    with pytest.raises(MissingFileError, match=r"v\.data-00000-of-00001"):
        read.read("c")


def test_a_missing_index_is_named() -> None:
    with pytest.raises(MissingFileError, match=r"v\.index"):
        bundle({})


def test_one_block_named_twice_is_refused() -> None:
    table = bytearray(write_table({b"a": b"1"}))
    handle = encoded(0) + encoded(len(encoded(0)) + 15)
    rows = b"".join(encoded(0) + encoded(1) + encoded(len(handle)) + key + handle for key in (b"a", b"b"))
    body = rows + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    start = len(table) - 48
    del table[start:]
    table += body + b"\0" + masked(crc32c(body + b"\0")).to_bytes(4, "little")
    first = read_first_block_size(bytes(table))
    rows = b"".join(encoded(0) + encoded(1) + encoded(len(first)) + key + first for key in (b"a", b"b"))
    body = rows + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    start = len(table)
    table += body + b"\0" + masked(crc32c(body + b"\0")).to_bytes(4, "little")
    footer = (encoded(0) * 2 + encoded(start) + encoded(len(body))).ljust(40, b"\0") + MAGIC
    with pytest.raises(CorruptFileError, match="two entries of its index lead to the block"):
        read_table(bytes(table) + footer, "test")


def read_first_block_size(table: bytes) -> bytes:
    """The handle of the first block of a table of the one entry a -> 1."""
    size = len(encoded(0) + encoded(1) + encoded(1) + b"a1") + 8
    assert table[:5] == b"\0\1\1a1"
    return encoded(0) + encoded(size)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32, 2**63])
def test_varints_round_trip(number: int) -> None:
    assert varint(encoded(number), 0, "test") == (number, len(encoded(number)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11], ids=["empty", "cut", "too-long"])
def test_a_varint_without_end_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptFileError, match="runs over its end"):
        varint(data, 0, "test")


def snappy_tag(length: int, kind: int) -> bytes:
    return bytes([(length - 1) << 2 | kind])


@pytest.mark.parametrize(
    ("compressed", "answer"),
    [
        (encoded(5) + snappy_tag(5, 0) + b"hello", b"hello"),
        (encoded(10) + snappy_tag(2, 0) + b"ab" + snappy_tag(8, 2) + b"\2\0", b"ab" * 5),
        (encoded(6) + snappy_tag(2, 0) + b"ab" + bytes([1, 2]), b"ababab"),
        (encoded(6) + snappy_tag(2, 0) + b"ab" + snappy_tag(4, 3) + b"\1\0\0\0", b"abbbbb"),
        (encoded(100) + bytes([60 << 2, 99]) + b"x" * 100, b"x" * 100),
    ],
    ids=["literal", "copy-overlapping", "short-copy", "far-copy", "long-literal"],
)
def test_snappy(compressed: bytes, answer: bytes) -> None:
    assert decompress(compressed, "test") == answer


@pytest.mark.parametrize(
    ("compressed", "message"),
    [
        (encoded(5) + snappy_tag(5, 0) + b"hel", "gives 3 bytes, not the 5"),
        (encoded(5) + snappy_tag(2, 0) + b"ab" + snappy_tag(3, 2) + b"\7\0", "refers 7 bytes back from byte 2"),
        (encoded(5) + snappy_tag(2, 0) + b"ab" + snappy_tag(3, 2) + b"\0\0", "refers 0 bytes back"),
        (encoded(2**40), "announces 1099511627776 bytes"),
        (encoded(1) + snappy_tag(2, 0) + b"ab", "gives 2 bytes, not the 1"),
    ],
    ids=["cut", "before-the-beginning", "no-distance", "huge", "longer"],
)
def test_damaged_snappy_is_refused(compressed: bytes, message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        decompress(compressed, "test")


@given(st.binary(max_size=60))
def test_random_snappy_ends(data: bytes) -> None:
    with contextlib.suppress(CorruptFileError):
        decompress(data, "test")


def test_contents_of_our_models_are_there() -> None:
    assert all(contents(folder) for folder in FOLDERS.values())
