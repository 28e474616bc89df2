"""Writes src/thaw/lowering/unicode_scripts.json: the script of every code point, as TensorFlow's UnicodeScript answers, in runs.

Needs TensorFlow.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

TARGET = Path(__file__).parent.parent / "src" / "thaw" / "lowering" / "unicode_scripts.json"


def runs() -> dict[str, list[int]]:
    scripts = tf.strings.unicode_script(np.arange(0x110000, dtype=np.int32)).numpy()
    starts = np.flatnonzero(np.concatenate([[True], scripts[1:] != scripts[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(scripts)]]))
    return {"lengths": lengths.tolist(), "scripts": scripts[starts].tolist()}


if __name__ == "__main__":
    found = runs()
    TARGET.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    sys.stdout.write(f"{len(found['lengths'])} runs in {TARGET}\n")
