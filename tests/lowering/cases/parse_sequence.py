"""Serialized sequence examples, made by hand as those of the plain ones."""

import numpy as np

from lowering.cases.parse import feature, field
from lowering.cases.text import case, one, s


def sequence(context=None, **lists) -> bytes:
    def entry(name, data):
        return field(1, field(1, name.encode()) + field(2, data))

    whole = b"".join(entry(name, feature(v)) for name, v in (context or {}).items())
    several = b"".join(entry(name, b"".join(field(1, feature(v)) for v in steps)) for name, steps in lists.items())
    return field(1, whole) + field(2, several)


FRAMES = s(
    sequence({"id": [b"v1"], "labels": [3, 5]}, rgb=[[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]], words=[[b"a", b"b"], [], [b"c"]]),
    sequence({"id": [b"v2"], "labels": []}, rgb=[[6.0, 7.0]], words=[[b"d"]]),
    sequence({"labels": [7]}, rgb=[], other=[[1]]),
)
LISTS = {
    "feature_list_sparse_types": ("string", "int64"),
    "feature_list_dense_types": ("float32",),
    "feature_list_dense_shapes": ((2,),),
}
WHOLE = {"context_sparse_types": ("int64",), "Tcontext_dense": ("string",), "context_dense_shapes": ((),)}
COUNTS = {"Ncontext_sparse": 1, "Nfeature_list_sparse": 2, "Nfeature_list_dense": 1}
KEYS = {
    "context_sparse_keys": ("labels",),
    "context_dense_keys": ("id",),
    "feature_list_sparse_keys": ("words", "other"),
    "feature_list_dense_keys": ("rgb",),
    "feature_list_dense_missing_assumed_empty": (),
    "Ncontext_dense": 1,
}
NO = {"context_ragged_value_types": (), "context_ragged_split_types": ()}
NONE = {"feature_list_ragged_value_types": (), "feature_list_ragged_split_types": ()}
NAMED = (s("labels"), s("id"), s(), s("words", "other"), s("rgb"), s())
DEFAULT = one("nameless")
RAGGED = {
    "context_ragged_value_types": ("int64",),
    "context_ragged_split_types": ("int32",),
    "feature_list_ragged_value_types": ("string", "float32"),
    "feature_list_ragged_split_types": ("int64", "int32"),
    "Ncontext_sparse": 0,
    "Tcontext_dense": (),
}
EMPTY_LIST = s(sequence({}, rgb=[[1.0]]), sequence({}))

CASES = [
    case("ParseSequenceExample", "batch", FRAMES, s(), DEFAULT, **KEYS, **COUNTS, **WHOLE, **LISTS),
    case(
        "ParseSequenceExample",
        "missing-lists",
        EMPTY_LIST,
        s(),
        Nfeature_list_dense=1,
        feature_list_dense_types=("float32",),
        feature_list_dense_shapes=((1,),),
        Tcontext_dense=(),
        Ncontext_dense=0,
        context_sparse_keys=(),
        context_dense_keys=(),
        feature_list_sparse_keys=(),
        feature_list_dense_keys=("rgb",),
        feature_list_dense_missing_assumed_empty=("rgb",),
    ),
    case(
        "ParseSequenceExampleV2",
        "batch",
        FRAMES,
        s(),
        *NAMED,
        np.array([False]),
        DEFAULT,
        **COUNTS,
        **WHOLE,
        **LISTS,
        **NO,
        **NONE,
    ),
    case(
        "ParseSequenceExampleV2",
        "one",
        one(FRAMES[0]),
        one(""),
        *NAMED,
        np.array([False]),
        DEFAULT,
        **COUNTS,
        **WHOLE,
        **LISTS,
        **NO,
        **NONE,
    ),
    case(
        "ParseSequenceExampleV2",
        "ragged",
        FRAMES,
        s(),
        s(),
        s(),
        s("labels"),
        s(),
        s(),
        s("words", "rgb"),
        np.array([], bool),
        **RAGGED,
    ),
    case(
        "ParseSingleSequenceExample",
        "frames",
        one(FRAMES[0]),
        s(),
        one("labels"),
        one("id"),
        one("words"),
        one("other"),
        one("rgb"),
        DEFAULT,
        one(""),
        Ncontext_dense=1,
        **COUNTS,
        **WHOLE,
        **LISTS,
    ),
    case(
        "ParseSingleSequenceExample",
        "missing",
        one(FRAMES[1]),
        s("absent"),
        one("absent"),
        one("rgb"),
        one(""),
        Ncontext_sparse=0,
        Ncontext_dense=0,
        Nfeature_list_sparse=0,
        Nfeature_list_dense=2,
        Tcontext_dense=(),
        feature_list_dense_types=("int64", "float32"),
        feature_list_dense_shapes=((3,), (2,)),
    ),
]
