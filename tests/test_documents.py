"""Generated pages equal what the code generates."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ops_page_is_current():
    page = (ROOT / "docs" / "ops.md").read_text()
    assert page == tool("make_ops_doc").text(), "run tools/make_ops_doc.py"


def test_coverage_page_is_current():
    page = (ROOT / "docs" / "coverage.md").read_text()
    assert page == tool("make_coverage_doc").text(), "run tools/make_coverage_doc.py"
