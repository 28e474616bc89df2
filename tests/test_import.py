"""What `import thaw` brings in: enough to be used, and nothing that a first load can bring in itself."""

import os
import subprocess
import sys

LATER = ("thaw.formats", "thaw.handles", "thaw.lowering.table", "google.protobuf")


def test_import_brings_in_no_reader_and_no_op_table():
    found = f"[m for m in {LATER} if m in sys.modules and m not in before]"
    code = f"import sys, keras; before = set(sys.modules); import thaw; print({found})"
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
