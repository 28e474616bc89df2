"""TF1 Hub modules: `tfhub_module.pb` says the format, `saved_model.pb` holds a metagraph for each set of tags.

What tensorflow_hub refuses is refused here too: other formats, required features, collections that it gives no meaning.
Imports artifact and its neighbours in formats. Source: tensorflow_hub/native_module.py.
"""

from functools import cache

from thaw.errors import CorruptFileError, NoSignatureError, UnsupportedModuleError
from thaw.formats.bundle import Bundle
from thaw.formats.checkpoint import PREFIX
from thaw.formats.files import Files
from thaw.formats.reader import reader, small_files
from thaw.formats.saved_model import GRAPH_FILE, MODULE_FILE, SMALL_FILES, provenance
from thaw.formats.v1_metagraph import read_metagraphs
from thaw.graph.artifact import Artifact
from thaw.wire.protos import parse

FORMAT = 3
"""The one format of native modules."""

COLLECTIONS = frozenset({
    "variables", "trainable_variables", "model_variables", "table_initializer", "asset_filepaths", "saved_model_assets",
    "update_ops", "regularization_losses", "cond_context", "while_context", "hub_module_attachments", "saved_model_main_op",
    "legacy_init_op",
})  # fmt: skip
"""The collections that have a meaning here."""


def is_hub_module(files: Files) -> bool:
    """Whether the folder holds a TF1 Hub module."""
    return files.exists(MODULE_FILE)


@reader("tf1_hub", looks_for="a folder with tfhub_module.pb and saved_model.pb", detect=is_hub_module)
def read_hub_module(files: Files) -> Artifact:
    """The artifact of a TF1 Hub module.

    Raises:
        UnsupportedModuleError: another format, a required feature, or a collection that is not known.
        NoSignatureError: one of its metagraphs has no signature.
        FormatError: a file is damaged or missing.
    """
    module = parse("ModuleDef", files.read(MODULE_FILE), f"{files.origin}/{MODULE_FILE}")
    if module.format != FORMAT:
        raise UnsupportedModuleError(files.origin, "a module format", [module.format], [FORMAT])
    if module.required_features:
        raise UnsupportedModuleError(files.origin, "required features", module.required_features, ["none"])
    origin = f"{files.origin}/{GRAPH_FILE}"
    proto = parse("SavedModel", files.read(GRAPH_FILE), origin)
    if not proto.meta_graphs:
        raise CorruptFileError(origin, "it holds no graph")
    unknown = {key for m in proto.meta_graphs for key in m.collection_def} - COLLECTIONS
    if unknown:
        raise UnsupportedModuleError(files.origin, "collections", sorted(unknown), sorted(COLLECTIONS))
    bundle = cache(lambda: Bundle(files, PREFIX))
    metagraphs, variables = read_metagraphs(proto.meta_graphs, files, bundle, all_variables=True)
    for metagraph in metagraphs:
        if not metagraph.signatures:
            raise NoSignatureError(files.origin, metagraph.tags)
    kept = small_files(files, MODULE_FILE, *SMALL_FILES)
    return Artifact("tf1_hub", metagraphs, variables.sources, kept, provenance(proto, files))
