"""How to provoke the errors of images and sounds."""

from pathlib import Path

import numpy as np

from provoke import Row
from thaw.errors import MediaError
from thaw.lowering.audio import decode_wav


def decode_what_is_no_sound(_: Path) -> None:
    decode_wav(np.array(b"fLaC....", dtype=object))


ROWS = [
    Row(
        MediaError,
        decode_what_is_no_sound,
        what="DecodeWav got 8 bytes that begin with b'fLaC'",
        expected="Expected a RIFF WAVE file",
        do="Convert what you feed, or decode it before the call",
    )
]
