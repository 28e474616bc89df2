"""Goldens of the op cases: one npz a family, written by tools/golden_lowering.py under TensorFlow, replayed by test_cases.py.

An entry is `<case name>|<what>|<dtype>`: `what` is "case" (the digest of the case that was recorded), "out0", "grad1" ...
numpy cannot store every dtype: strings lie as hexadecimal text, bfloat16 and the like as integers of their width.
"""

import hashlib
import importlib
from pathlib import Path

import numpy as np

from lowering.case import Case

HERE = Path(__file__).parent
FOLDER = HERE.parent / "golden" / "lowering"


def families() -> list[str]:
    """The names of the case files."""
    return sorted(p.stem for p in (HERE / "cases").glob("*.py") if p.stem != "__init__")


def family(name: str):
    """The module of a family: `CASES`, and `ELSEWHERE` (op -> where it is tested, or why it is not) where it has one."""
    return importlib.import_module(f"lowering.cases.{name}")


def digest(case: Case) -> str:
    """What a recorded answer depends on, in 16 hexadecimal digits."""
    sha = hashlib.sha256(f"{case.op} {case.gradient}".encode())
    for x in case.inputs:
        sha.update(f"{x.dtype.name}{x.shape}".encode())
        sha.update(repr(x.tolist()).encode() if x.dtype == object else np.ascontiguousarray(x).tobytes())
    if case.outputs is not None:
        sha.update(f"{case.outputs} outputs".encode())
    for name, value in sorted(case.attrs.items()):
        sha.update(f"{name}={value.tolist() if isinstance(value, np.ndarray) else value!r}".encode())
    return sha.hexdigest()[:16]


def cotangent(case: Case, output: int, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """The weight of an output in the scalar whose gradient is compared: None where the output is not floating."""
    rng = np.random.default_rng([output, len(case.name), *shape])
    if dtype.startswith("complex"):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    if dtype in {"float16", "float32", "float64"}:
        return rng.standard_normal(shape).astype(dtype)
    if dtype == "bfloat16":
        import ml_dtypes

        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
    return None


def pack(entries: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    packed = {}
    for key, array in entries.items():
        array = np.asarray(array)
        if array.dtype == object:
            text = [x.hex() if isinstance(x, bytes) else str(x).encode().hex() for x in array.ravel().tolist()]
            packed[f"{key}|string"] = np.array(text, dtype=str).reshape(array.shape)
        elif array.dtype.name in {"bfloat16", "float8_e4m3fn", "float8_e5m2"}:
            packed[f"{key}|{array.dtype.name}"] = array.view(f"uint{8 * array.dtype.itemsize}")
        else:
            packed[f"{key}|{array.dtype.name}"] = array
    return packed


def unpack(packed) -> dict[str, np.ndarray]:
    entries = {}
    for full in packed:
        key, _, dtype = full.rpartition("|")
        array = packed[full]
        if dtype == "string":
            flat = np.empty(array.size, dtype=object)
            flat[:] = [bytes.fromhex(x) for x in array.ravel().tolist()]
            array = flat.reshape(array.shape)
        elif dtype not in {array.dtype.name} and not dtype.startswith("str"):
            import ml_dtypes

            array = array.view(getattr(ml_dtypes, dtype))
        entries[key] = array
    return entries


def load(name: str) -> dict[str, np.ndarray]:
    """The recorded entries of a family; empty where nothing is recorded yet."""
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as packed:
        return unpack(packed)
