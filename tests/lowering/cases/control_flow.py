"""Control flow, tensor lists and arrays: nothing that a single node could show. Where they are tested instead."""

from lowering.case import Case

RECORDED = "tests/lowering/test_control_flow.py, on graphs that TensorFlow ran"
BY_HAND = "tests/lowering/test_list_ops.py"
SAME = "tests/lowering/test_list_ops.py: the same function as V3"
ARRAY = ("Read", "Write", "Gather", "Scatter", "Concat", "Split", "Size")

ELSEWHERE = {
    **dict.fromkeys(
        ("While", "StatelessWhile", "If", "StatelessIf", "StatelessCase", "TensorArrayV2", "TensorArrayV3"), RECORDED
    ),
    **dict.fromkeys([f"TensorArray{what}V3" for what in ARRAY], RECORDED),
    **dict.fromkeys([f"TensorArray{what}{v}" for v in ("V2", "") for what in (*ARRAY, "Close")], SAME),
    **dict.fromkeys(["TensorArray", "TensorArrayPack", "TensorArrayUnpack"], BY_HAND),
    **dict.fromkeys(
        [f"TensorList{what}" for what in ("Reserve", "FromTensor", "GetItem", "SetItem", "Stack", "Gather", "ConcatV2", "Split")],
        RECORDED,
    ),
    "TensorListScatterIntoExistingList": RECORDED,
    "TensorArrayCloseV3": "has no output",
    "Case": "tests/lowering/test_list_ops.py: the same function as StatelessCase",
    "EmptyTensorList": BY_HAND,
    **dict.fromkeys(
        [
            f"TensorList{what}"
            for what in (
                "Concat",
                "ConcatLists",
                "ElementShape",
                "Length",
                "PopBack",
                "PushBack",
                "Resize",
                "Scatter",
                "ScatterV2",
            )
        ],
        BY_HAND,
    ),
}
CASES: list[Case] = []
