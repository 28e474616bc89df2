"""A row of tests/errors/ provokes each exception; its message says what, what was expected, what to do."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from provoke import Row
from thaw import errors
from thaw.errors import ThawError

SOURCE = Path(errors.__file__).parent
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, ThawError) and value.__module__ == errors.__name__
}
# A class that only groups others builds no message; nothing raises it.
GROUPS = {name for name, value in CLASSES.items() if "__init__" not in vars(value)}


def collected() -> list[Row]:
    """The rows of every file in tests/errors/."""
    rows: list[Row] = []
    for file in sorted((Path(__file__).parent / "errors").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"error_rows_{file.stem}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        rows += module.ROWS
    return rows


ROWS = collected()


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS])
def test_error_says_what_expected_and_do(row: Row, tmp_path: Path) -> None:
    with pytest.raises(row.error) as caught:
        row.provoke(tmp_path)
    assert type(caught.value) is row.error
    message = str(caught.value)
    for part in ("what", "expected", "do"):
        words = getattr(row, part)
        assert words and words in message, f"the message does not say {part}: {words!r}\n{message}"
    assert not re.search(r"\{[a-zA-Z_][\w.!]*\}", message), f"a placeholder was left unfilled: {message}"


@pytest.mark.parametrize("name", sorted(set(CLASSES) - GROUPS))
def test_every_error_is_provoked(name: str) -> None:
    assert any(row.error is CLASSES[name] for row in ROWS), f"no row of tests/errors/*.py provokes {name}"


def test_only_errors_with_a_message_of_their_own_are_raised() -> None:
    raised = []
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                called = node.exc.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in GROUPS:
                    raised.append(f"{file.relative_to(SOURCE)}:{node.lineno} raises {name}")
    assert not raised, raised


def test_a_group_has_members() -> None:
    empty = [name for name in GROUPS if not CLASSES[name].__subclasses__()]
    assert not empty, f"classes without a message and without subclasses: {empty}"


def test_exceptions_are_defined_in_errors_alone() -> None:
    elsewhere = []
    for file in SOURCE.rglob("*.py"):
        if file.name == "errors.py" and file.parent == SOURCE:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and any("Error" in ast.unparse(base) for base in node.bases):
                elsewhere.append(f"{file.relative_to(SOURCE)}:{node.lineno} defines {node.name}")
    assert not elsewhere, elsewhere


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn: dict[str, str | None] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:[│ ]   )*(?:[├└]── )?)(\w+)", line)
        if found is None or not found[2].endswith("Error"):
            continue
        depth = len(found[1]) // 4
        parents[depth:] = [found[2]]
        drawn[found[2]] = parents[depth - 1] if depth else None
    real = {}
    for name, value in CLASSES.items():
        bases = [base.__name__ for base in value.__bases__ if base.__name__ in CLASSES]
        real[name] = bases[0] if bases else None
    assert drawn == real


def test_errors_page_is_current() -> None:
    root = Path(__file__).parent.parent
    spec = importlib.util.spec_from_file_location("make_errors_doc", root / "tools" / "make_errors_doc.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (root / "docs" / "errors.md").read_text(encoding="utf-8") == tool.text(), "run `make docs`"
