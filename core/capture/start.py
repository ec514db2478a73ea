"""How the process was started: read on the caller's thread in microseconds, before the program changes any of it."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from ..exits import in_notebook


class Start(NamedTuple):
    """How a process was started.

    Args:
        executable: The interpreter.
        command: Its whole command line, options of the interpreter among them.
        arguments: `sys.argv` without the program.
        folder: The working folder; None where it was removed.
        script: The program's file; None in a prompt, or with `-c`.
        module: What was given to `python -m`.
        is_notebook: Whether this is a notebook's kernel.
    """

    executable: str
    command: list[str]
    arguments: list[str]
    folder: str | None
    script: str | None
    module: str | None
    is_notebook: bool


def read_start() -> Start:
    """Answer how this process was started."""
    main: Any = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    module = getattr(spec, "name", None)
    if module is not None and module.endswith(".__main__"):
        module = module.removesuffix(".__main__")
    try:
        folder = os.getcwd()
    except OSError:
        folder = None
    is_notebook = in_notebook()
    return Start(
        executable=sys.executable or "",
        command=list(getattr(sys, "orig_argv", [])),
        arguments=list(sys.argv[1:]),
        folder=folder,
        script=None if script is None or is_notebook else os.path.join(folder or "", script),
        module=module,
        is_notebook=is_notebook,
    )
