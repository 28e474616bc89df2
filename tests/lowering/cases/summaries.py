"""Summaries for TensorBoard: nothing to compare, since nothing is written."""

CASES = []

ELSEWHERE = dict.fromkeys(
    (
        "ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary", "AudioSummaryV2", "TensorSummary", "TensorSummaryV2",
        "MergeSummary",
    ),
    "writes nothing; its value is the empty string",
)  # fmt: skip
