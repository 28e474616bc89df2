"""Writes src/thaw/formats/op_outputs.json: the outputs of TensorFlow's ops that may have several.

FunctionDefs name a tensor by its output argument; frozen graphs and stripped files carry no op definitions to resolve it
by. Run with TensorFlow installed: `python tools/make_op_outputs.py`.
"""

import json
from pathlib import Path

from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

TARGET = Path(__file__).parents[1] / "src" / "thaw" / "formats" / "op_outputs.json"


def main() -> None:
    ops = op_def_pb2.OpList()
    ops.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    several = {
        op.name: [[arg.name, arg.number_attr or arg.type_list_attr] for arg in op.output_arg]
        for op in sorted(ops.op, key=lambda op: op.name)
        if len(op.output_arg) > 1 or any(arg.number_attr or arg.type_list_attr for arg in op.output_arg)
    }
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(args)}" for name, args in several.items())
    TARGET.write_text("{\n" + rows + "\n}\n")
    print(f"{TARGET.name}: {len(several)} of {len(ops.op)} ops")


if __name__ == "__main__":
    main()
