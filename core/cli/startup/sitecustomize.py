"""Starts the hook where `tracker run` has put this folder on the path: interpreters that read no `tracker_autoload.pth`.

Python runs one `sitecustomize` only, the first on the path. So this one steps aside and runs the one that would have
been, before it does its own. Where tracker is not installed in this interpreter's environment it does nothing more.
"""

import os
import sys


def _run_the_next() -> None:
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != own]
    ours = sys.modules.pop(__name__, None)
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        if ours is not None:  # there is no other
            sys.modules[__name__] = ours


def _start() -> None:
    if "TRACKER_DISABLED" in os.environ:
        return
    try:
        hook = __import__("_tracker_hook")
    except ImportError:  # another environment's interpreter
        return
    hook.install()


try:
    _run_the_next()
finally:
    _start()
