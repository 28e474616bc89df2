"""Ops about variables: a single node has no variable, so they are tested on small graphs."""

from lowering.case import Case

HERE = "tests/lowering/test_variables.py"
SCATTERS = [
    f"{kind}{how}"
    for kind in ("ResourceScatter", "ResourceScatterNd", "Scatter", "ScatterNd")
    for how in ("Update", "Add", "Sub", "Max", "Min")
]
ELSEWHERE = dict.fromkeys(
    (
        "VarHandleOp",
        "VariableV2",
        "Variable",
        "ReadVariableOp",
        "VariableShape",
        "VarIsInitializedOp",
        "IsVariableInitialized",
        "DisableCopyOnRead",
        "DestroyResourceOp",
        "AssignVariableOp",
        "AssignAddVariableOp",
        "AssignSubVariableOp",
        "Assign",
        "AssignAdd",
        "AssignSub",
        "ResourceGather",
        "ResourceGatherNd",
        "ResourceStridedSliceAssign",
        *SCATTERS,
        "ResourceScatterMul",
        "ResourceScatterDiv",
        "ScatterMul",
        "ScatterDiv",
        "StridedSliceAssign",
        "RefSelect",
        "CountUpTo",
        "ResourceCountUpTo",
    ),
    HERE,
)
CASES: list[Case] = []
