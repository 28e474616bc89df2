"""Files that a graph reads while it runs: those of its own artifact, and no others. Imports registry, run and strings."""

import numpy as np

from thaw.errors import AssetMissingError
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.strings import Strings, strings


@lowering("ReadFile", host=True, context=True, gradient="none")
def read_file(context: Context, filename: Strings) -> Strings:
    """The bytes of an asset.

    Raises:
        AssetMissingError: the artifact has no file of that name.
    """
    files = context.resources.files
    name = np.asarray(filename).item().decode("utf-8", "replace")
    if name not in files:
        raise AssetMissingError(context.node.name, name, sorted(n for n in files if n.startswith("assets")))
    return strings([files[name]], ())
