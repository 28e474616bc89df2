"""Handles of storage buckets, gs://, s3:// and az://, by the library fsspec and its driver for each.

A bucket holds the module's folder, an archive or a model file. Credentials are found by the drivers, as they always do.
"""

from pathlib import Path, PurePosixPath

from thaw.errors import MissingLibraryError
from thaw.handles.archive import safe_parts
from thaw.handles.progress import Meter
from thaw.handles.scheme import library, scheme

CHUNK = 1 << 20
DRIVERS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}


@scheme("gs", example="gs://bucket/module_folder or gs://bucket/module.tar.gz")
@scheme("s3", example="s3://bucket/module_folder or s3://bucket/module.tar.gz")
@scheme("az", example="az://container/module_folder or az://container/module.tar.gz")
def fetch(handle: str, folder: Path, meter: Meter, /) -> Path:
    """Downloads every file below a path of a bucket."""
    protocol = handle.partition("://")[0]
    extra = protocol if protocol in DRIVERS else "gs"
    fsspec = library("fsspec", extra=extra, handle=handle)
    try:
        bucket, root = fsspec.core.url_to_fs(handle)
    except ImportError as error:  # fsspec is there, and the driver is not
        raise MissingLibraryError(DRIVERS.get(protocol, protocol), handle, extra) from error
    found = bucket.find(root, detail=True)
    if not found:
        raise FileNotFoundError(f"nothing lies at {handle}")
    last = PurePosixPath(root).name
    meter.begin(f"Downloading {last}", sum(info.get("size") or 0 for info in found.values()))
    target = folder / last
    for name in found:
        # A path that is itself a file is found as its own only content.
        parts = safe_parts(handle, name.removeprefix(root).lstrip("/"))
        place = target.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with bucket.open(name, "rb") as source, place.open("xb") as out:
            while chunk := source.read(CHUNK):
                out.write(chunk)
                meter.advance(len(chunk))
    return target
