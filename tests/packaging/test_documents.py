"""The documents and the declarations say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTION = (ROOT / "docs/distribution.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def _array(name: str) -> list[str]:
    """The distributions named in an array of pyproject.toml (Python 3.10 has no tomllib)."""
    _, _, rest = PROJECT.partition(f"\n{name} = [")
    body, _, _ = rest.partition("]\n" if "]\n" in rest else "]")
    return re.findall(r'"([A-Za-z][A-Za-z0-9._-]*)', body)


def test_every_default_dependency_is_defended() -> None:
    for name in _array("dependencies"):
        assert f"| `{name}` |" in DISTRIBUTION


@pytest.mark.parametrize(
    "extra", ["demo", "pandas", "parquet", "references", "yaml", "torch", "test", "browser", "dev"]
)
def test_every_extra_is_described(extra: str) -> None:
    assert _array(extra)
    assert f"| `{extra}` |" in DISTRIBUTION


def test_nobody_is_sent_to_the_other_project_of_our_name() -> None:
    told = re.compile(r"pip install (-\S+ )*[\"']?tracker\b(?!\s+is)")
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8").replace("`pip install tracker` installs", "")
        assert not told.search(text), page


def test_the_ci_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- tests -->\n```sh\n(.*?)\n```", readme, re.S)
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")

    assert block
    assert f"\n{block[1]} " in script
