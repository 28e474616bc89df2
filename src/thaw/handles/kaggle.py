"""Handles of Kaggle Models, `kaggle://owner/model/framework/variation[/version]`, by the library kagglehub.

kagglehub knows the user's Kaggle credentials and keeps a cache of its own, from which the module is copied into ours.
"""

import re
from pathlib import Path

from thaw.handles.progress import Meter
from thaw.handles.scheme import library, scheme

# https://www.kaggle.com/models/google/mobilenet-v2/tensorFlow2/035-96-classification/2, also with the words
# frameworks, variations and versions between, as the site writes it.
PAGE = re.compile(
    r"https://(?:www\.)?kaggle\.com/models/(?P<owner>[\w-]+)/(?P<model>[\w-]+)"
    r"/(?:frameworks/)?(?P<framework>\w+)/(?:variations/)?(?P<variation>[\w-]+)"
    r"(?:/(?:versions/)?(?P<version>\d+))?/?"
)


def from_page(address: str) -> str | None:
    """The handle for the address of a model's page on Kaggle; None for other addresses."""
    found = PAGE.fullmatch(address)
    return None if found is None else "kaggle://" + "/".join(part for part in found.groups() if part)


@scheme("kaggle", example="kaggle://google/mobilenet-v2/tensorFlow2/035-96-feature-vector/2")
def fetch(handle: str, folder: Path, meter: Meter, /) -> Path:
    """Downloads a model variation, or finds it in kagglehub's cache."""
    kagglehub = library("kagglehub", extra="kaggle", handle=handle)
    return Path(kagglehub.model_download(handle.removeprefix("kaggle://")))
