"""The table of frameworks is true: files, classes, hooks, versions, tests, pages, examples."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import _tracker_hook
import tracker
from tracker.integrations import INTEGRATIONS, Integration

ROOT = Path(__file__).parents[2]
ROOMS = sorted((ROOT / "integrations").glob("*.py"))
OWN = {"base", "patching", "autologging"}  # no framework's
# The first version of these is what we believe: older wheels of torch are large, for the others there is no environment.
UNTRIED = {"torch", "diffusers", "fastai", "ray", "spacy", "ultralytics"}

each = pytest.mark.parametrize("integration", INTEGRATIONS, ids=lambda integration: integration.name)


def _is_installed(integration: Integration) -> bool:
    try:
        return find_spec(integration.name) is not None
    except (ImportError, ValueError):
        return False


def _module(integration: Integration) -> str:
    return f"tracker.integrations.{integration.name.replace('.', '_')}"


def test_each_file_has_a_line_and_each_line_a_file() -> None:
    files = {path.stem for path in ROOMS if not path.stem.startswith("_")} - OWN

    assert {integration.name for integration in INTEGRATIONS} == files


def test_the_hook_has_the_same_table() -> None:
    """The hook reads no table of ours at start-up: it has it as a literal."""
    hooks = {
        module: f"{_module(integration)}:{function}"
        for integration in INTEGRATIONS
        for module, function in integration.hooks.items()
    }
    autolog = {
        module: f"{_module(integration)}:{function}"
        for integration in INTEGRATIONS
        for module, function in integration.autolog.items()
    }

    assert hooks == _tracker_hook.HOOKS
    assert autolog == _tracker_hook.AUTOLOG


@each
def test_what_the_hook_calls_is_there(integration: Integration) -> None:
    module = importlib.import_module(_module(integration))
    for function in {*integration.hooks.values(), *integration.autolog.values()}:
        assert callable(getattr(module, function))


@each
def test_its_classes_are_there_or_say_what_to_install(integration: Integration) -> None:
    module = importlib.import_module(_module(integration))
    for name in integration.classes:
        if _is_installed(integration):
            assert callable(getattr(module, name))
        else:
            try:
                assert callable(getattr(module, name))  # it derives from nothing of the framework's
            except tracker.MissingFramework as error:
                assert f"pip install {integration.distribution}" in str(error)
    with pytest.raises(AttributeError, match="NoSuchName"):
        module.NoSuchName


@each
def test_the_installed_version_is_a_supported_one(integration: Integration) -> None:
    supported = SpecifierSet(integration.versions)
    if integration.tier < 3:
        assert integration.versions
    if _is_installed(integration):
        try:
            version = importlib.metadata.version(integration.distribution)
        except importlib.metadata.PackageNotFoundError:  # under another name: tensorflow-cpu
            return
        assert supported.contains(version, prereleases=True)


def _oldest() -> dict[str, str]:
    lines = (ROOT / "tests" / "constraints" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


@each
def test_the_range_begins_with_the_version_that_was_tried(integration: Integration) -> None:
    """`tox -e hf-oldest`, and the others, install what tests/constraints/oldest.txt says."""
    tried = _oldest().get(integration.distribution)
    if integration.tier == 3 or integration.name in UNTRIED:
        assert tried is None or integration.name == "torch"
    else:
        (first,) = SpecifierSet(integration.versions)
        assert first.operator == ">="
        assert Version(first.version) == Version(str(tried))


@each
def test_the_page_says_which_versions(integration: Integration) -> None:
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    untried = ", not tried" if integration.tier == 3 or integration.name in UNTRIED else ""

    assert f"| `{integration.name}` | {integration.versions.removeprefix('>=') or 'any'}{untried} |" in page


@each
def test_it_is_tested_shown_and_explained(integration: Integration) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "integrations").glob("*.md"))
    assert f"tracker.integrations.{integration.name}" in pages or f"`{integration.name}`" in pages
    if integration.tier < 3:
        assert list((ROOT / "tests" / "integrations" / integration.name).glob("test_*.py"))
        examples = "".join(example.read_text(encoding="utf-8") for example in (ROOT / "examples").glob("*.py"))
        assert integration.name in examples


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.name)
def test_integrations_use_what_is_public(room: Path) -> None:
    """What they need beyond is a missing feature of the face: other people write integrations too."""
    for node in ast.walk(ast.parse(room.read_text(encoding="utf-8"))):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
        assert not [name for name in names if name.startswith(("tracker.core", "tracker.server"))]
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1


def test_importing_them_all_loads_no_framework() -> None:
    code = f"""
import importlib, json, sys
for name in {[_module(integration) for integration in INTEGRATIONS]!r}:
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))

    assert not loaded & {integration.name.partition(".")[0] for integration in INTEGRATIONS}
    assert not loaded & {"numpy", "pandas", "torch", "tensorflow"}
