"""Inputs for a model that comes without recorded ones: of the dtypes and shapes that it declares, with content that it can read.

Unknown axes are tried in several sizes, since only running tells which one a graph can take. Strings are what the graph does
with them: serialized tf.train.Examples with the features that it parses, an image, a sound, or words.
"""

import io
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np

from thaw.graph.inline_functions import inline_functions
from thaw.graph.ir import CompositeSpec, Graph, TensorSpec
from thaw.graph.program import Program, Variant, leaves, rebuild
from thaw.lowering.parse import message_class

SIZES = (32, 224, 1, 8, 64, 512)
"""What unknown axes but the batch are tried with."""
IMAGES, SOUNDS = ("DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif"), ("DecodeWav",)


def candidates(program: Program, batch: int = 2) -> Iterator[Any]:
    """Inputs to try, one after the other: a dict for a signature, the first parameter's value for a callable."""
    variant = program.serving_variants[0]
    bound = program.bound(variant.trace)
    structure = bound if program.is_signature else bound[program.parameters[0].name]
    texts = _texts(variant, batch)
    specs = [s for leaf in leaves(structure) for s in (leaf.components if isinstance(leaf, CompositeSpec) else [leaf])]
    unknown = any(s.shape is None or None in s.shape[1:] for s in specs)
    for size in SIZES if unknown else SIZES[:1]:
        ranks = (2, 4, 1, 3, 0) if any(s.shape is None for s in specs) else (2,)
        for rank in ranks:
            random = np.random.default_rng(0)
            yield rebuild(structure, iter([_value(s, batch, size, rank, random, texts) for s in specs]), lambda s, parts: parts)


def _value(spec: TensorSpec, batch: int, size: int, rank: int, random: np.random.Generator, texts: list[bytes]) -> np.ndarray:
    shape = spec.shape if spec.shape is not None else (None, size, size, 3)[: 4 if rank == 4 else rank]
    dims = [(batch if i == 0 else size) if n is None else n for i, n in enumerate(shape)]
    if spec.dtype == "string":
        made = np.empty(dims, object)
        made.ravel()[:] = [texts[i % len(texts)] for i in range(made.size)]
        return made
    if spec.dtype.startswith(("int", "uint")):
        return random.integers(0, 2, dims).astype(spec.dtype)
    if spec.dtype == "bool":
        return random.random(dims) < 0.5
    return random.random(dims).astype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def _texts(variant: Variant, batch: int) -> list[bytes]:
    """What a string input of the graph may be."""
    graph = inline_functions(variant.trace.graph, variant.library)
    ops = {node.op for node in graph.nodes.values()}
    keys = _features(graph)
    if keys:
        return [_example(keys, seed) for seed in range(batch)]
    if ops & set(IMAGES):
        return [_png()]
    if ops & set(SOUNDS):
        return [_wav()]
    return [b"some words here", b"other words"]


def _features(graph: Graph) -> dict[bytes, tuple[str, int]]:
    """Key -> (dtype, number of values) of the features that the graph parses; empty where it parses none."""
    found: dict[bytes, tuple[str, int]] = {}

    def known(tensor: Any) -> list[bytes]:
        node = graph.nodes.get(tensor.node)
        return list(np.ravel(node.attrs["value"])) if node is not None and node.op == "Const" else []

    for node in graph.nodes.values():
        if node.op not in {"ParseExample", "ParseExampleV2", "ParseSingleExample"}:
            continue
        shapes = [int(np.prod([d or 1 for d in s])) if s else 1 for s in node.attrs.get("dense_shapes", ())]
        if node.op == "ParseExampleV2":
            sparse, dense, ragged = (known(t) for t in node.inputs[2:5])
        elif node.op == "ParseExample":
            few = int(node.attrs["Nsparse"])
            sparse = [k for t in node.inputs[2 : 2 + few] for k in known(t)]
            dense = [k for t in node.inputs[2 + few : 2 + few + int(node.attrs["Ndense"])] for k in known(t)]
            ragged = []
        else:
            sparse, dense, ragged = [_raw(k) for k in node.attrs["sparse_keys"]], [_raw(k) for k in node.attrs["dense_keys"]], []
        found.update({k: (d, 1) for k, d in zip(sparse, node.attrs.get("sparse_types", ()), strict=False)})
        found.update({k: (d, n) for k, d, n in zip(dense, node.attrs.get("Tdense", ()), shapes, strict=False)})
        found.update({k: (d, 1) for k, d in zip(ragged, node.attrs.get("ragged_value_types", ()), strict=False)})
    return found


def _raw(key: Any) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


def _example(features: dict[bytes, tuple[str, int]], seed: int) -> bytes:
    """A serialized tf.train.Example with every one of `features`."""
    example = message_class("Example")()
    random = np.random.default_rng(seed)
    for key, (dtype, count) in features.items():
        feature = example.features.feature[key.decode()]
        if dtype == "string":
            feature.bytes_list.value.extend([b"word"] * count)
        elif dtype == "int64":
            feature.int64_list.value.extend(random.integers(0, 2, count).tolist())
        else:
            feature.float_list.value.extend(random.random(count).tolist())
    return bytes(example.SerializeToString())


def _png() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")).save(file, "PNG")
    return file.getvalue()


def _wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(np.random.default_rng(0).integers(-9999, 9999, 16000, "int16").tobytes())
    return file.getvalue()
