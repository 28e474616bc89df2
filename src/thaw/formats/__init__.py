"""Reads what publishers wrote (SavedModels, TF1 Hub modules, frozen graphs) into `thaw.graph.artifact.Artifact`.

No graph is changed here and nothing runs; TensorFlow is not needed. Imports errors, registry, graph.ir and graph.artifact.
"""
