"""Records TensorFlow's answers in tests/golden: `make_golden.py [section [name ...]]`, everything when nothing is named.

A section is a file golden_<section>.py beside this one with `record(names)`; names are the section's own (op families,
models ...). Needs TensorFlow; the suite replays the goldens without it.
"""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]


def main(arguments: list[str]) -> None:
    sections = sorted(p.stem.removeprefix("golden_") for p in HERE.glob("golden_*.py"))
    chosen, names = (arguments[:1], arguments[1:]) if arguments else (sections, [])
    for section in chosen:
        if section not in sections:
            sys.exit(f"No section {section!r}; there are: {', '.join(sections)}.")
        importlib.import_module(f"golden_{section}").record(names)


if __name__ == "__main__":
    main(sys.argv[1:])
