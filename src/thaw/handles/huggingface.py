"""Handles of the Hugging Face Hub, `hf://owner/name[@revision][/path]`, by the library huggingface_hub.

huggingface_hub knows the user's token. The files are downloaded straight into our cache.
"""

import shutil
from pathlib import Path

from thaw.handles.archive import safe_parts
from thaw.handles.progress import Meter
from thaw.handles.scheme import library, scheme


@scheme("hf", example="hf://owner/name or hf://owner/name@revision/folder")
def fetch(handle: str, folder: Path, meter: Meter, /) -> Path:
    """Downloads a repository at a revision, or the folder or file of it that `path` names."""
    hub = library("huggingface_hub", extra="huggingface", handle=handle)
    owner, _, rest = handle.removeprefix("hf://").partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    parts = safe_parts(handle, path)
    within = "/".join(parts)
    hub.snapshot_download(
        f"{owner}/{name}",
        revision=revision or None,
        local_dir=folder,
        allow_patterns=[within, f"{within}/*"] if parts else None,
    )
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's own notes
    return folder.joinpath(*parts)
