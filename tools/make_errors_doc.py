"""Writes docs/errors.md from thaw.errors: the tree of exceptions, and what each one means.

`text()` is what the page must say; tests/test_errors.py holds the committed page against it. Needs no TensorFlow.
"""

import inspect
from pathlib import Path

from thaw import errors
from thaw.errors import ThawError

TARGET = Path(__file__).parent.parent / "docs" / "errors.md"

HEAD = """# Errors

Every error that thaw raises on purpose is a `thaw.errors.ThawError`. Its message says what happened, with the values; what was
expected; and what to do. The command prints the message and ends with exit code 2. This page is generated (`make docs`) from
`src/thaw/errors.py`; a test fails when it is out of date.

```
{tree}
```

| error | is also a | when |
|---|---|---|
"""


def classes() -> list[type[ThawError]]:
    """Every exception, in the order of the file."""
    found = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, ThawError)]
    return [value for value in found if value.__module__ == errors.__name__]


def row(error: type[ThawError]) -> str:
    """One line of the table."""
    other = [base.__name__ for base in error.__mro__[1:] if not issubclass(base, ThawError) and base.__module__ == "builtins"]
    kinds = [name for name in other if name not in ("Exception", "BaseException", "object")]
    meaning = " ".join((inspect.getdoc(error) or "").partition("\n\n")[0].split())
    return f"| `{error.__name__}` | {', '.join(f'`{kind}`' for kind in kinds)} | {meaning} |"


def text() -> str:
    """The page."""
    drawn = (errors.__doc__ or "").partition("    ThawError\n")
    tree = inspect.cleandoc("\n" + drawn[1] + drawn[2])
    return HEAD.format(tree=tree) + "\n".join(map(row, classes())) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
