"""Writes op_outputs.json (the outputs of TensorFlow's ops that may have several) and op_inputs.json (how many inputs ops take).

Both go to src/thaw/formats. FunctionDefs name a tensor by its output argument; frozen graphs and stripped files carry no op
definitions to resolve it by. A node with another number of inputs than its op takes is damaged. Run with TensorFlow
installed: `python tools/make_op_outputs.py`.
"""

import json
from pathlib import Path

from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

FORMATS = Path(__file__).parents[1] / "src" / "thaw" / "formats"


def main() -> None:
    ops = op_def_pb2.OpList()
    ops.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    several = {
        op.name: [[arg.name, arg.number_attr or arg.type_list_attr] for arg in op.output_arg]
        for op in sorted(ops.op, key=lambda op: op.name)
        if len(op.output_arg) > 1 or any(arg.number_attr or arg.type_list_attr for arg in op.output_arg)
    }
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(args)}" for name, args in several.items())
    (FORMATS / "op_outputs.json").write_text("{\n" + rows + "\n}\n")
    fixed = [op for op in ops.op if not any(arg.number_attr or arg.type_list_attr for arg in op.input_arg)]
    counts = sorted({len(op.input_arg) for op in fixed})
    lines = (f'"{n}": {json.dumps(" ".join(sorted(op.name for op in fixed if len(op.input_arg) == n)))}' for n in counts)
    (FORMATS / "op_inputs.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(several)} of {len(ops.op)} ops may have several outputs, {len(fixed)} take a fixed number of inputs")


if __name__ == "__main__":
    main()
