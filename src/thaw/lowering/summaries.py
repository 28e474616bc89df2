"""Summaries for TensorBoard: nothing is written, and what a graph makes of them is the empty string."""

from typing import Any

from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, strings
from thaw.lowering.values import Value


@lowering("ScalarSummary", gradient="none")
def scalar_summary(tags: Value, values: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("HistogramSummary", gradient="none")
def histogram_summary(tag: Value, values: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("ImageSummary", gradient="none", ignored=("max_images", "bad_color"))
def image_summary(tag: Value, tensor: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("AudioSummary", gradient="none", ignored=("sample_rate", "max_outputs"))
def audio_summary(tag: Value, tensor: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("AudioSummaryV2", gradient="none", ignored=("max_outputs",))
def audio_summary_v2(tag: Value, tensor: Value, sample_rate: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("TensorSummary", gradient="none", ignored=("description", "labels", "display_name"))
def tensor_summary(tensor: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("TensorSummaryV2", gradient="none")
def tensor_summary_v2(tag: Value, tensor: Value, serialized_summary_metadata: Value) -> Strings:
    """The empty string."""
    return strings([b""], ())


@lowering("MergeSummary", gradient="none")
def merge_summary(*inputs: Any) -> Strings:
    """The empty string."""
    return strings([b""], ())
