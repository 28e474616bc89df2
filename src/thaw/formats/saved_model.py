"""SavedModel folders: `saved_model.pb` with its metagraphs, of TensorFlow 2 (with an object graph) or 1 (without).

Imports artifact and its neighbours in formats.
"""

from functools import cache

from thaw.errors import CorruptFileError, NoSignatureError
from thaw.formats.checkpoint import Checkpoint
from thaw.formats.files import Files
from thaw.formats.frozen_graph import NODE
from thaw.formats.object_graph import ObjectGraph
from thaw.formats.reader import reader, small_files
from thaw.formats.tf1_saved_model import read_tf1_saved_model
from thaw.graph.artifact import Artifact, MetaGraph, VariableSource
from thaw.wire.protos import Message, parse

GRAPH_FILE = "saved_model.pb"
MODULE_FILE = "tfhub_module.pb"
"""Makes a SavedModel a TF1 Hub module, which another reader reads."""
SMALL_FILES = (GRAPH_FILE, "variables/variables.index", "fingerprint.pb", "keras_metadata.pb")


def is_saved_model(files: Files) -> bool:
    """Whether the folder holds a SavedModel that is no TF1 Hub module, and no frozen graph by another name."""
    return files.exists(GRAPH_FILE) and not files.exists(MODULE_FILE) and bytes(files.map(GRAPH_FILE)[:1]) != NODE


def provenance(proto: Message, files: Files) -> dict[str, str]:
    """What the files say about their making."""
    info = proto.meta_graphs[0].meta_info_def
    facts = {"tensorflow_version": info.tensorflow_version, "tensorflow_git_version": info.tensorflow_git_version}
    if files.exists("fingerprint.pb"):
        facts["fingerprint"] = parse("FingerprintDef", files.read("fingerprint.pb"), "fingerprint.pb").uuid
    return {name: value for name, value in facts.items() if value}


@reader("saved_model", looks_for="a folder with saved_model.pb, and variables/ beside it", detect=is_saved_model)
def read_saved_model(files: Files) -> Artifact:
    """The artifact of a SavedModel folder.

    Raises:
        FormatError: a file is damaged or missing, or there is nothing to call.
    """
    origin = f"{files.origin}/{GRAPH_FILE}"
    proto = parse("SavedModel", files.read(GRAPH_FILE), origin)
    if not proto.meta_graphs:
        raise CorruptFileError(origin, "it holds no graph")
    if not proto.meta_graphs[0].object_graph_def.nodes:
        return read_tf1_saved_model(proto, files, *SMALL_FILES, provenance=provenance(proto, files))
    checkpoint = cache(lambda: Checkpoint(files))
    variables: dict[str, VariableSource] = {}
    metagraphs: list[MetaGraph] = []
    left_out: list[str] = []
    for metagraph in proto.meta_graphs:
        read = ObjectGraph(metagraph, files, checkpoint, variables, left_out).metagraph()
        if not read.signatures and not read.callables and not read.inner:
            if left_out:
                raise CorruptFileError(origin, left_out[0])
            raise NoSignatureError(files.origin, read.tags)
        metagraphs.append(read)
    kept = dict(small_files(files, *SMALL_FILES))
    if files.exists("variables/variables.index"):
        kept |= checkpoint().small_files()
    facts = provenance(proto, files) | ({"left_out": "; ".join(left_out)} if left_out else {})
    return Artifact("tf2_saved_model", tuple(metagraphs), variables, kept, facts)
