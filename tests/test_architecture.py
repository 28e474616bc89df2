"""The house as its imports draw it: rooms in layers, no cycles, no backend, and ARCHITECTURE.md true to the tree."""

import ast
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "thaw"

# A room may import its own files and rooms of lower layers. In STRANGERS, rooms do not know each other;
# in the other layers they may, without a cycle.
LAYERS = [
    {"allocator", "compilation_cache", "errors", "registry"},
    {"graph"},
    {"wire"},
    {"handles", "formats", "lowering", "trainable"},
    {
        "load",
        "inner",
        "boundary",
        "text_door",
        "sizes",
        "runtime",
        "taps",
        "layer",
        "inspection",
        "gradient_paths",
        "explanation",
        "mending",
        "model_file",
        "profiling",
    },
    {"finetune", "export", "report"},
    {"cli"},
    {"__init__", "__main__"},
]
STRANGERS = 3
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

# Which files may touch a backend, inside functions only.
BACKENDS = {"tensorflow", "tf_keras", "tensorflow_hub", "jax", "jaxlib", "torch"}
BACKEND_FILES = {
    "lowering/kernels.py",
    "lowering/image_kernels.py",
    "lowering/torch_kernels.py",
    "lowering/loop_kernels.py",
    "lowering/matrix_kernels.py",
    "lowering/sequence_kernels.py",
    "lowering/special_kernels.py",
    "lowering/timing_kernels.py",
    "trainable/row_gradients.py",
    "compilation_cache.py",
}
# The one that may import Keras' internals.
KERAS_INTERNALS = {"trainable/hooks.py"}


@dataclass(frozen=True)
class Import:
    """One import statement of one file."""

    file: str
    line: int
    target: str
    """The module, dotted."""
    inside: bool
    """Whether it stands in a function, so that it runs late."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> frozenset[str]:
    return frozenset(module_name(file) for file in files())


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for file in files() for found in imports_of(file))


def imports_of(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = module_name(file) if file.name == "__init__.py" else module_name(file).rpartition(".")[0]
    late = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    # Under TYPE_CHECKING nothing is imported when running, but the rooms still know each other.
    for node in ast.walk(tree):
        name = file.relative_to(PACKAGE).as_posix()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, node.lineno, alias.name, id(node) in late)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield Import(name, node.lineno, deeper if deeper in modules() else base, id(node) in late)


def every() -> Iterator[tuple[str, Import]]:
    """(importing module, import) for every import."""
    for found in imports():
        yield module_name(PACKAGE / found.file), found


def own() -> Iterator[tuple[str, Import]]:
    """(importing module, import) for imports of thaw by thaw."""
    return ((module, found) for module, found in every() if found.target.split(".")[0] == "thaw")


def test_every_room_has_its_layer() -> None:
    unknown = {room_of(name) for name in modules()} - set(RANK)
    assert not unknown, f"{sorted(unknown)}: give each a place in LAYERS here and in ARCHITECTURE.md, or a room to live in"


def test_imports_go_one_way() -> None:
    wrong = []
    for module, found in own():
        here, there = room_of(module), room_of(found.target)
        if here == there or here not in RANK or there not in RANK:
            continue
        if RANK[there] > RANK[here] or (RANK[there] == RANK[here] == STRANGERS):
            wrong.append(f"{found} ({here} may not know {there})")
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for module, found in own():
        if not found.inside and found.target != module and not module.startswith(f"{found.target}."):
            graph[module].add(found.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_rooms_of_one_layer_form_no_cycle() -> None:
    """Also by imports inside functions: a cycle of rooms is one idea in two places."""
    graph: dict[str, set[str]] = {}
    for module, found in own():
        here, there = room_of(module), room_of(found.target)
        if here != there and "__init__" not in (here, there):
            graph.setdefault(here, set()).add(there)

    def visit(room: str, path: tuple[str, ...]) -> None:
        assert room not in path, " -> ".join([*path, room])
        for target in sorted(graph.get(room, ())):
            visit(target, (*path, room))

    for room in sorted(graph):
        visit(room, ())


def test_backends_are_touched_in_few_files_only_and_late() -> None:
    wrong = [
        str(found)
        for found in imports()
        if found.target.split(".")[0] in BACKENDS and (found.file not in BACKEND_FILES or not found.inside)
    ]
    assert not wrong, wrong


def test_only_the_public_surface_of_keras_is_used() -> None:
    wrong = [str(found) for found in imports() if found.target.startswith("keras.src") and found.file not in KERAS_INTERNALS]
    assert not wrong, wrong


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils", "util", "common", "misc", "other", "helpers", "helper"}
    assert not [file for file in files() if file.stem in vague or file.parent.name in vague]


def test_every_module_says_what_it_is() -> None:
    assert not [module_name(f) for f in files() if not ast.get_docstring(ast.parse(f.read_text(encoding="utf-8")))]


def tree_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_architecture_tree", ROOT / "tools/make_architecture_tree.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tree_in_architecture_page_is_current() -> None:
    tool = tree_tool()
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert page == tool.refreshed(page), "run `make docs`"


def test_layers_in_architecture_page_are_those_checked_here() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = re.search(r"^imports: (.+?)$", page, re.MULTILINE)
    assert found is not None
    drawn = [set(re.findall(r"\w+", layer)) for layer in found[1].split("<")]
    assert drawn == LAYERS[:-1]


def test_all_equals_the_exported_names() -> None:
    """Read, not imported: this file is run at every commit, and importing Keras takes seconds."""
    statements = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    exported = {a.asname or a.name for s in statements if isinstance(s, ast.Import | ast.ImportFrom) for a in s.names}
    assigned = {ast.unparse(s.targets[0]): s.value for s in statements if isinstance(s, ast.Assign)}
    exported |= {name for name in assigned if not name.startswith("_")}
    assert exported == set(ast.literal_eval(assigned["__all__"])) - {"__version__"}


def test_every_package_imported_is_declared() -> None:
    """What src imports at all, an install of keras-thaw (with the extra of that job, where late) brings along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = {distribution(line) for line in project["dependencies"]}
    extras = {distribution(line) for lines in project["optional-dependencies"].values() for line in lines}
    owners = importlib.metadata.packages_distributions()
    wrong = []
    for found in imports():
        package = found.target.split(".")[0]
        if package == "thaw" or package in sys.stdlib_module_names or package in BACKENDS:
            continue
        names = owners_of(found.target, owners)
        if not names & (always | extras if found.inside else always):
            wrong.append(f"{found}, of {sorted(names) or 'a package that is not installed here'}")
    assert not wrong, "\n".join(wrong)


def distribution(requirement: str) -> str:
    """The name in a requirement, as distributions are compared."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def owners_of(target: str, owners: Mapping[str, list[str]]) -> set[str]:
    """The distributions that bring a module."""
    return {distribution(name) for name in owners.get(target.split(".")[0], ())}


def test_keras_is_not_imported_where_it_is_not_needed() -> None:
    """Naming an error, resolving a handle or rewriting a graph must not cost seconds of importing Keras."""
    rooms = {"allocator", "errors", "registry", "graph", "wire", "handles"}
    wrong = [str(found) for module, found in every() if room_of(module) in rooms and found.target.split(".")[0] == "keras"]
    assert not wrong, wrong
