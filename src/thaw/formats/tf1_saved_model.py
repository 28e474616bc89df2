"""Plain SavedModels of TensorFlow 1 (and of estimators): no object graph, any tags, any collections.

Imports artifact and its neighbours in formats.
"""

from functools import cache

from thaw.errors import NoSignatureError
from thaw.formats.bundle import Bundle
from thaw.formats.checkpoint import PREFIX
from thaw.formats.files import Files
from thaw.formats.reader import small_files
from thaw.formats.v1_metagraph import read_metagraphs
from thaw.graph.artifact import Artifact
from thaw.wire.protos import Message


def read_tf1_saved_model(proto: Message, files: Files, *small: str, provenance: dict[str, str]) -> Artifact:
    """The artifact of a SavedModel without an object graph.

    Args:
        proto: the SavedModel.
        files: where it lies.
        small: names of its small files.
        provenance: what is known of its making.

    Raises:
        FormatError: a file is damaged or missing, or nothing is computed from anything.
    """
    bundle = cache(lambda: Bundle(files, PREFIX))
    metagraphs, variables = read_metagraphs(proto.meta_graphs, files, bundle, all_variables=False)
    if not any(m.signatures or m.whole for m in metagraphs):
        raise NoSignatureError(files.origin, {t for m in metagraphs for t in m.tags})
    return Artifact("tf1_saved_model", metagraphs, variables.sources, small_files(files, *small), provenance)
