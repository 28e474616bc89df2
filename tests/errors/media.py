"""How to provoke the errors of images and sounds."""

from pathlib import Path

import numpy as np

from provoke import Row
from thaw.errors import AssetMissingError, MediaError
from thaw.lowering.assets import read_file
from thaw.lowering.audio import decode_wav
from thaw.lowering.run import Context, Resources


def decode_what_is_no_sound(_: Path) -> None:
    decode_wav(np.array(b"fLaC....", dtype=object))


def read_a_file_of_the_machine(_: Path) -> None:
    read_file(Context(Resources(files={"assets/words.txt": b""})), np.array(b"/etc/passwd", dtype=object))


ROWS = [
    Row(
        AssetMissingError,
        read_a_file_of_the_machine,
        what="(ReadFile) reads the file '/etc/passwd'",
        expected="Expected an asset of the artifact: 'assets/words.txt'",
        do="Read the file yourself",
    ),
    Row(
        MediaError,
        decode_what_is_no_sound,
        what="DecodeWav got 8 bytes that begin with b'fLaC'",
        expected="Expected a RIFF WAVE file",
        do="Convert what you feed, or decode it before the call",
    ),
]
