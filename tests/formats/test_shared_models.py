"""Every published artifact of ../shared/models reads, with the names, shapes and signatures that TensorFlow knew.

Skipped where the folder is absent: the artifacts are not part of the project.
"""

import io
import os
import tarfile
from functools import cache

import numpy as np
import pytest

from formats.sample import SHARED
from thaw.formats import MemoryFiles, read
from thaw.graph.artifact import Artifact, MetaGraph

NAMES = sorted(d.name for d in SHARED.iterdir() if d.is_dir() and not d.name.startswith("e_")) if SHARED.is_dir() else []
pytestmark = [
    pytest.mark.skipif(not NAMES, reason="../shared/models is not here"),
    pytest.mark.skipif(os.environ["KERAS_BACKEND"] != "jax", reason="reading needs no backend: it is shown once, beside jax"),
]


@cache
def files_of(name: str) -> MemoryFiles:
    with tarfile.open(SHARED / name / "model.tar.gz") as archive:
        members = [m for m in archive.getmembers() if m.isfile()]
        found = {m.name.removeprefix("./"): archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    roots = {n.split("/", 1)[0] for n in found}
    if len(roots) == 1 and all("/" in n for n in found):
        found = {n.split("/", 1)[1]: data for n, data in found.items()}
    return MemoryFiles(found, name)


def variant(artifact: Artifact, tags: str) -> MetaGraph:
    return next(m for m in artifact.metagraphs if m.tags == frozenset(t for t in tags.split("+") if t))


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_a_published_artifact_reads_as_TensorFlow_read_it(name: str) -> None:
    artifact = read(files_of(name))
    for variable in artifact.variables.values():
        assert variable.read().shape == variable.shape
    assert len({v.name for v in artifact.variables.values()}) == len(artifact.variables)
    by_name = {v.name: v for v in artifact.variables.values()}
    golden = np.load(io.BytesIO((SHARED / name / "golden.npz").read_bytes()))
    for key in golden.files:
        place, kind, what = key.split("|", 2)
        tags, function = place.split("/", 1)
        metagraph = variant(artifact, tags)
        if kind in {"grad", "gradsum", "aftersum"}:
            if artifact.format == "frozen_graph":
                assert what in metagraph.signatures["frozen"].traces[0].graph.nodes
            else:
                assert what in by_name, key
                assert kind != "grad" or golden[key].shape == by_name[what].shape
        elif function.startswith("__call__"):
            assert metagraph.callables["__call__"].traces
        else:
            trace = metagraph.signatures[function].traces[0]
            named = trace.kwargs if kind == "in" else trace.outputs
            assert isinstance(named, dict) or kind == "in"
            assert (what.removesuffix(":0") if function == "frozen" else what) in named  # type: ignore[operator]


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_its_small_files_are_enough_to_read_it_again(name: str) -> None:
    artifact = read(files_of(name))
    assert not any("variables.data" in n for n in artifact.files)
    again = read(MemoryFiles(artifact.files))
    assert list(again.variables) == list(artifact.variables)
    assert [len(m.initializers) for m in again.metagraphs] == [len(m.initializers) for m in artifact.metagraphs]
