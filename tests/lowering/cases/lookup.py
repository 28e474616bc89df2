"""Lookup tables take more than one node: tests/lowering/test_tables.py has them."""

CASES = []

KINDS = ("HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableDenseHashTable")
USES = (
    "InitializeTable",
    "InitializeTableFromTextFile",
    *(f"LookupTable{use}" for use in ("Find", "Size", "Insert", "Import", "Export")),
)
NAMES = [name + version for name in (*KINDS, *USES) for version in ("", "V2")]
NAMES += ["AnonymousHashTable", "AnonymousMutableHashTable", "LookupTableRemoveV2"]
ELSEWHERE = dict.fromkeys(NAMES, "test_tables.py: a table and its use are several nodes") | {
    "ReadFile": "test_tables.py: it reads the artifact's files"
}
