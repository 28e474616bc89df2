"""Writes the tree in ARCHITECTURE.md anew: every file of src/thaw with the first line of its docstring.

The prose around the tree is by hand; what stands between the two markers is this script's. `make docs` runs it, and
tests/test_architecture.py fails while the tree in the page is not what `tree()` gives.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
PACKAGE = ROOT / "src" / "thaw"
BEGIN = "<!-- tree: written by tools/make_architecture_tree.py -->"
END = "<!-- end of tree -->"


def first_line(file: Path) -> str:
    """The first sentence of a module's docstring, as far as it stands on the first line."""
    text = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return text.partition(". ")[0].rstrip(".")


def lines(folder: Path, depth: int) -> list[tuple[str, str]]:
    """(indented name, what it is) of everything in a folder: its own files first, then its folders."""
    indent = "  " * depth
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    rows = [(f"{indent}{file.name}", first_line(file)) for file in files]
    for below in sorted({path.parent for path in folder.glob("*/*.py")}):
        opening = below / "__init__.py"
        rows.append((f"{indent}{below.name}/", first_line(opening) if opening.exists() else ""))
        rows += lines(below, depth + 1)
    return rows


def tree() -> str:
    """The tree as a code block, one line a file."""
    rows = [("src/thaw/", first_line(PACKAGE / "__init__.py")), *lines(PACKAGE, 1)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["```", *(f"{name:<{width}}  {what}".rstrip() for name, what in rows), "```"])


def refreshed(page: str) -> str:
    """The page with the tree as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tree()}\n{END}{after}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"{PAGE.name} has lost its markers {BEGIN} and {END}")
    PAGE.write_text(refreshed(text), encoding="utf-8")
