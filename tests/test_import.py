"""What `import thaw` brings in: enough to be used, and nothing that a first load can bring in itself."""

import os
import subprocess
import sys

LATER = ("thaw.formats", "thaw.handles", "thaw.lowering.table", "google.protobuf", "rich.progress", "filelock")


def test_import_brings_in_no_reader_and_no_op_table():
    code = f"import sys, keras, thaw; print([m for m in {LATER} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True)
    brought = done.stdout.strip()
    if os.environ.get("KERAS_BACKEND") == "tensorflow":  # TensorFlow itself brings protobuf
        brought = brought.replace("'google.protobuf'", "").replace("[, ", "[")
    assert brought == "[]"
