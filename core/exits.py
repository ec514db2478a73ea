"""How the process ends, told to the runs that are open then.

An exception is seen by `sys.excepthook`, a signal by a handler, the rest by `atexit`. Whoever was there before us is
called as ever: hooks are chained, and a signal does what it would have done without us. In a forked child nothing of
this touches the parent's runs.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

_SIGNALS = ("SIGTERM", "SIGHUP", "SIGXCPU")  # SIGINT comes as KeyboardInterrupt
_MAX_TRACEBACK_CHARS = 64 << 10

_watched: list[Run] = []
_before: dict[str, Any] = {}  # what stood in our places; empty when we are not installed
_seen: dict[str, Any] = {}  # the exit code given to sys.exit, and where the runs were then; the last signal


def watch(run: Run) -> None:
    """Tell this run how the process ends."""
    _watched.append(run)
    if not _before:
        _install()


def forget(run: Run) -> None:
    """Do no longer: the run has ended."""
    if run in _watched:
        _watched.remove(run)
    if not _watched:
        _uninstall()


def state_of(error: BaseException) -> dict[str, Any]:
    """Answer the arguments of `Run._end` for an exception that ends the run."""
    if isinstance(error, KeyboardInterrupt):
        return {"state": "killed", "exit_code": 130, "signal": "SIGINT", "reason": "interrupted by the user"}
    if isinstance(error, SystemExit):
        return _state_of_code(error.code)
    import traceback  # only for a run that fails

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if len(text) > _MAX_TRACEBACK_CHARS:
        half = _MAX_TRACEBACK_CHARS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return {"state": "failed", "exit_code": 1, "reason": f"{type(error).__name__}: {error}"[:1000], "traceback": text}


def in_notebook() -> bool:
    """Answer whether we run in a notebook's kernel, where the process outlives many runs."""
    ipython = sys.modules.get("IPython")
    return "ipykernel" in sys.modules and ipython is not None and ipython.get_ipython() is not None


def _state_of_code(code: Any) -> dict[str, Any]:
    if code is None or code == 0:
        return {"state": "finished", "exit_code": 0}
    if isinstance(code, int):
        return {"state": "failed", "exit_code": code, "reason": f"exit code {code}"}
    return {"state": "failed", "exit_code": 1, "reason": str(code)[:1000]}  # sys.exit("a message")


def _install() -> None:
    _before.update(hook=sys.excepthook, exit=sys.exit, signals={})
    _seen.clear()
    sys.excepthook = _on_exception
    sys.exit = _on_exit_call
    atexit.register(_at_exit)
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers; its way to the end tells enough
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is None:
            continue
        known = signal.getsignal(number)
        if known is None or known is signal.SIG_IGN:  # another language's handler, or ignored on purpose (nohup)
            continue
        try:
            signal.signal(number, _on_signal)
        except (ValueError, OSError):  # a subinterpreter, say
            continue
        _before["signals"][number] = known


def _uninstall() -> None:
    """Take back what is still ours; where somebody has chained on top, ours stays and does nothing."""
    if not _before:
        return
    if sys.excepthook is _on_exception:
        sys.excepthook = _before["hook"]
    if sys.exit is _on_exit_call:
        sys.exit = _before["exit"]
    is_chained = sys.excepthook is not _before["hook"] or sys.exit is not _before["exit"]
    for number, known in list(_before["signals"].items()):
        if threading.current_thread() is threading.main_thread() and signal.getsignal(number) is _on_signal:
            signal.signal(number, known)
            del _before["signals"][number]
    atexit.unregister(_at_exit)
    if not is_chained and not _before["signals"]:
        _before.clear()
    else:
        atexit.register(_at_exit)


def _end_all(**state: Any) -> None:
    for run in list(_watched):
        run._end(**state)  # not for a parent's run in a forked child: it looks at its pid


def _on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    hook = _before.get("hook", sys.__excepthook__)
    hook(kind, error, trace)
    if not (hasattr(sys, "ps1") or sys.flags.interactive):  # at a prompt, life goes on
        _end_all(**state_of(error))


def _on_exit_call(code: Any = None, /) -> Any:
    if threading.current_thread() is threading.main_thread():
        # Somebody may catch it: then there will be more rows than now.
        _seen["exit"] = (code, [(run, run._journal.seq) for run in _watched])
    raise SystemExit(code)


def _on_signal(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    known = _before.get("signals", {}).get(number, signal.SIG_DFL)
    if callable(known):  # the user's own handler decides what becomes of us
        _seen["signal"] = name
        known(number, frame)
        return
    is_preempted = any(run._fields.get("preempting") for run in _watched)
    _end_all(state="preempted" if is_preempted else "killed", exit_code=128 + number, signal=name, reason=f"got {name}")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _at_exit() -> None:
    code, places = _seen.get("exit", (None, []))
    was_caught = any(run._journal.seq != seq for run, seq in places if run in _watched)
    state = _state_of_code(None if was_caught else code)
    if "signal" in _seen:
        state["signal"] = _seen["signal"]
        if any(run._fields.get("preempting") for run in _watched):
            state["state"] = "preempted"
    _end_all(**state)
