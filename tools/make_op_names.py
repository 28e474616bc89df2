"""Writes tests/golden/op_names.json: the names of the ops of TensorFlow and of TensorFlow Text, for make_coverage_doc.py.

Ops of TensorFlow's own tests, of datasets, and of the insides of its runtime are passed over here. Needs both libraries.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "op_names.json"
INSIDE = ("_", "Risc", "XlaSparse", "Collective", "DTensor", "Experimental")


def registered() -> set[str]:
    ops = op_def_pb2.OpList()
    ops.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {op.name for op in ops.op}


def public(names: set[str]) -> list[str]:
    """Those that Python code can make (tf.raw_ops), without the passed-over ones."""
    return sorted(
        n for n in names if (hasattr(tf.raw_ops, n) or n.startswith("Xla")) and "Dataset" not in n and not n.startswith(INSIDE)
    )


if __name__ == "__main__":
    core = registered()
    import tensorflow_text  # noqa: F401  (registers its ops)

    found = {"tensorflow": public(core), "tensorflow_text": sorted(registered() - core)}
    TARGET.write_text(json.dumps(found, indent=0) + "\n")
    sys.stdout.write(f"{len(found['tensorflow'])} and {len(found['tensorflow_text'])} names in {TARGET}\n")
