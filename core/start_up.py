"""What `import tracker` has to do with the start-up hook: know it, and put it in place where nobody has.

The hook is a module of its own beside the package, `_tracker_hook`, so that an interpreter can start it without loading
anything of ours. Where it was not started (`python -S`, another environment's folder on the path), frameworks are let
know of us from here on, those that are loaded already among them.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "_tracker_hook"


def join(place: str) -> None:
    """Tell the hook where the package lies, and have it in place.

    Args:
        place: The package's folder.
    """
    found = hook(place)
    if found is None:
        return
    try:
        found.install(place)
    except TypeError:  # that of an older version, which another folder on the path has: its tables are its own
        return


def hook(place: str | None = None) -> ModuleType | None:
    """Answer the hook's module; None where it did not come along with the package.

    Args:
        place: The package's folder: looked at for the file where the module cannot be imported.
    """
    found = sys.modules.get(_NAME)
    if found is not None:
        return found
    try:
        return __import__(_NAME)
    except ImportError:
        return None if place is None else _load(place)


def start_up_files() -> list[Path]:
    """Answer the files of ours that this interpreter reads when it starts; none where somebody has left them out."""
    import site
    import sysconfig
    from pathlib import Path

    if sys.flags.no_site:
        return []
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        folders.add(site.getusersitepackages())
    ending = "start" if sys.version_info >= (3, 15) else "pth"
    return [path for folder in sorted(folders) if (path := Path(folder, f"tracker_autoload.{ending}")).is_file()]


def _load(place: str) -> ModuleType | None:
    from importlib.util import module_from_spec, spec_from_file_location  # a folder that somebody has put on the path

    for folder in (os.path.dirname(place), place, os.path.dirname(os.path.realpath(os.path.join(place, "core")))):
        path = os.path.join(folder, f"{_NAME}.py")
        spec = spec_from_file_location(_NAME, path) if os.path.isfile(path) else None
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            sys.modules[_NAME] = module
            spec.loader.exec_module(module)
            return module
    return None
