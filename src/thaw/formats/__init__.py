"""Reads what publishers wrote (SavedModels, TF1 Hub modules, frozen graphs) into `thaw.graph.artifact.Artifact`, and back.

No graph is changed here and nothing runs; TensorFlow is not needed. Imports errors, registry, graph.ir, graph.artifact and wire.
Importing the readers below registers them.
"""

from thaw.formats import frozen_graph as _frozen_graph
from thaw.formats import hub_v1 as _hub_v1
from thaw.formats import saved_model as _saved_model
from thaw.formats.files import DirectoryFiles, Files, MemoryFiles
from thaw.formats.reader import READERS, read, reader
from thaw.formats.rewrite import emptied, rewritten

__all__ = ["READERS", "DirectoryFiles", "Files", "MemoryFiles", "emptied", "read", "reader", "rewritten"]

del _frozen_graph, _hub_v1, _saved_model
