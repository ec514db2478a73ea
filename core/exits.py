"""How the process ends, told to the runs that are open then.

An exception is seen by `sys.excepthook`, a signal by a handler, a code by `sys.exit`, all else at `atexit`. Whoever
was there before is called as ever, whoever comes later may take the place, and a signal does to the process what it
would have done without us. In a forked child nothing of this touches the parent's runs.

What stands at the bottom of the main thread's stack tells whether the program ran to its end: a `SystemExit` that
somebody caught is none, and an exception is known even when another excepthook has thrown ours out.

Left alone on purpose: SIGINT (it comes as KeyboardInterrupt, and people catch that), SIGUSR1 and SIGUSR2 (frameworks
take them for requeueing only while nobody else has).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

_SIGNALS = ("SIGTERM", "SIGHUP", "SIGXCPU")
_MAX_TRACEBACK_CHARS = 64 << 10
_NOT_SEEN: Any = object()

_watched: list[tuple[Run, int]] = []  # each with the thread that opened it
_handlers: dict[int, Any] = {}  # by signal: what stood there before us
_bottom: FrameType | None = None  # the outermost frame of the main thread
_exit_code: Any = _NOT_SEEN  # the last one given to sys.exit in the main thread
_signalled: str | None = None  # a signal whose handler has left by an exception
_is_dying = False
_is_installed = False


def watch(run: Run) -> None:
    """Tell this run how the process ends."""
    _watched.append((run, threading.get_ident()))
    if not _is_installed:
        _install()


def forget(run: Run) -> None:
    """Do no longer: the run has ended. What was installed for it goes, unless somebody has chained on top."""
    _watched[:] = [entry for entry in _watched if entry[0] is not run]
    if not _watched and _is_installed:
        _uninstall()


def end(run: Run, error: BaseException | None) -> None:
    """End one run as the exception says that leaves its `with` block; None is a good end."""
    _end(run, _by_signal(state_of(error)) if error is not None else state_of(None))


def state_of(error: BaseException | None) -> dict[str, Any]:
    """Answer the arguments of `Run._end` for an exception that ends the run; None is no exception."""
    if error is None:
        return {"state": "finished", "exit_code": 0}
    if isinstance(error, KeyboardInterrupt):
        return {"state": "killed", "exit_code": 130, "signal": "SIGINT", "reason": "interrupted by the user"}
    if isinstance(error, SystemExit):
        return _state_of_code(error.code)
    import traceback  # only for a run that fails

    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        reason = "".join(traceback.format_exception_only(type(error), error)).strip()
    except Exception as fault:  # an exception may be as broken as anything
        text, reason = f"(no traceback: {type(fault).__name__})", type(error).__name__
    if len(text) > _MAX_TRACEBACK_CHARS:
        half = _MAX_TRACEBACK_CHARS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return {"state": "failed", "exit_code": 1, "reason": reason[:1000], "traceback": text}


def is_from_handler(error: BaseException) -> bool:
    """Answer whether an exception was raised by a signal handler of the user's, which interrupted us."""
    codes = set()
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        codes.add(getattr(getattr(handler, "__func__", handler), "__code__", None))
    codes.discard(None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def in_notebook() -> bool:
    """Answer whether we run in a notebook's kernel, where the process outlives many runs."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not ("ipykernel" in sys.modules or "google.colab" in sys.modules):
        return False
    return getattr(ipython, "get_ipython", lambda: None)() is not None


def _state_of_code(code: Any) -> dict[str, Any]:
    if code is None or code == 0:
        return {"state": "finished", "exit_code": 0}
    if not isinstance(code, int):  # sys.exit("a message")
        return {"state": "failed", "exit_code": 1, "reason": str(code)[:1000]}
    number = int(code) - 128
    if number in _handlers:  # a program that has cleaned up after a signal says so by this code
        name = signal.Signals(number).name
        return {"state": "killed", "exit_code": int(code), "signal": name, "reason": f"exit code {code}"}
    return {"state": "failed", "exit_code": int(code), "reason": f"exit code {code}"}


def _end_all(state: dict[str, Any], thread: int | None = None) -> None:
    for run, opened_in in list(_watched):
        if thread is not None and opened_in != thread:
            continue
        _end(run, state)


def _end(run: Run, state: dict[str, Any]) -> None:
    is_preempted = state["state"] != "finished" and run._fields.get("preempting")
    run._end(**{**state, "state": "preempted"} if is_preempted else state)


# --- what we put in place -----------------------------------------------------------------


class _Hook:
    """A function of ours in the place of a module's; the one before it is called, and put back.

    Args:
        owner: The module.
        name: Its attribute.
        notice: Called with the arguments, before or after the function that was there.
        is_first: Whether that is before.
    """

    def __init__(self, owner: Any, name: str, notice: Callable[..., None], *, is_first: bool) -> None:
        self.owner, self.name, self.notice = owner, name, notice
        self.before: Any = None

        def hook(*args: Any) -> Any:
            if is_first:
                notice(*args)
                return self.before(*args)
            try:
                return self.before(*args)
            finally:
                notice(*args)

        hook.__name__ = hook.__qualname__ = name
        self.ours = hook

    def put(self) -> None:
        if self.before is None:  # else we are there still, beneath somebody
            self.before = getattr(self.owner, self.name)
            self.ours.__doc__ = getattr(self.before, "__doc__", None)
            setattr(self.owner, self.name, self.ours)

    def take_back(self) -> None:
        if self.before is not None and getattr(self.owner, self.name, None) is self.ours:
            setattr(self.owner, self.name, self.before)
            self.before = None


def _on_exception(_kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # After the user has seen the traceback, and at once: threads may keep the process for long. But some programs
    # call the hook themselves and go on (a GUI's main loop, a prompt): then the bottom of the stack is still there.
    if _watched and not _is_interactive() and not _is_running(_bottom):
        if error is not None and error.__traceback__ is None:
            error.__traceback__ = trace
        _end_all(_by_signal(state_of(error)))
        if isinstance(error, KeyboardInterrupt):
            _remember_interrupt()
            atexit.register(_remember_interrupt)  # once more: other threads go on until then


def _remember_interrupt() -> None:
    """Let the interpreter know (again) that an interrupt by the keyboard ends it: its exit status is a SIGINT's then.

    It notes that as the program is left, and forgets it when anything, in any thread, is run from a text: as happens
    at imports (named tuples, data classes).
    """
    try:
        exec("raise KeyboardInterrupt")  # noqa: S102 - the one way to set the note
    except KeyboardInterrupt:
        pass


def _on_thread_exception(args: Any) -> None:
    # A thread that dies takes the runs with it that it has opened; others it may have harmed or not.
    if args.exc_type is not SystemExit and args.thread is not threading.main_thread():
        _end_all(state_of(args.exc_value or args.exc_type()), args.thread.ident if args.thread else -1)


def _on_exit_call(code: Any = None, *_: Any) -> None:
    global _exit_code
    if threading.current_thread() is threading.main_thread():  # elsewhere it only ends the thread
        _exit_code = code


def _on_quit(_quitter: Any, code: Any = None) -> None:
    _on_exit_call(code)


_hooks = [
    _Hook(sys, "excepthook", _on_exception, is_first=False),
    _Hook(threading, "excepthook", _on_thread_exception, is_first=False),
    _Hook(sys, "exit", _on_exit_call, is_first=True),
]


def _install() -> None:
    global _bottom, _exit_code, _signalled, _is_installed
    _is_installed = True
    _exit_code, _signalled = _NOT_SEEN, None
    _bottom = _find_bottom()
    quitter = type(getattr(sys.modules.get("builtins"), "exit", None))  # `exit(1)`, which raises by itself
    if len(_hooks) == 3 and quitter.__module__ == "_sitebuiltins":
        _hooks.append(_Hook(quitter, "__call__", _on_quit, is_first=True))
    for hook in _hooks:
        hook.put()
    atexit.register(_at_exit)
    if _is_worker():
        from multiprocessing.util import Finalize  # a worker leaves by os._exit: nothing else is called there

        Finalize(None, _at_worker_exit, exitpriority=0)
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is None or number in _handlers:
            continue
        known = signal.getsignal(number)
        if known is None or known is signal.SIG_IGN:  # another language's handler, or ignored on purpose (nohup)
            continue
        try:
            signal.signal(number, _on_signal)
        except (ValueError, OSError):  # a subinterpreter, say
            continue
        _handlers[int(number)] = known


def _uninstall() -> None:
    global _bottom, _is_installed
    _is_installed = False
    _bottom = None
    for hook in _hooks:
        hook.take_back()
    atexit.unregister(_at_exit)
    for number, known in list(_handlers.items()):
        try:
            if signal.getsignal(number) is _on_signal:
                signal.signal(number, known)
            else:  # taken by somebody, who may call us
                continue
        except ValueError:  # not the main thread: the handler stays, and does what would be done without it
            continue
        del _handlers[number]


def _after_fork_in_child() -> None:
    global _exit_code, _signalled
    _watched.clear()
    _exit_code, _signalled = _NOT_SEEN, None
    if _is_installed:
        _uninstall()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --- the ways to end ------------------------------------------------------------------------


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _is_dying, _signalled
    known = _handlers.get(number, signal.SIG_DFL)
    name = signal.Signals(number).name
    if callable(known):  # there before us: it decides what becomes of the process
        try:
            known(number, frame)
        except BaseException:
            _signalled = name
            raise
        return
    if sys._getframe().f_back is not frame:  # called by a handler that was put on top: that one decides
        return
    try:
        if _watched and not _is_dying:  # twice: whoever sends it is in a hurry
            _is_dying = True
            _end_all({"state": "killed", "exit_code": 128 + number, "signal": name, "reason": f"got {name}"})
    finally:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def come_first() -> None:
    """Have the runs end before what modules that were loaded by now do at exit: what a run ends with may need them."""
    if _is_installed:
        # The earlier one stays, and finds nothing to do: between its going and this, the program could be left.
        atexit.register(_at_exit)


def _at_exit() -> None:
    if not _watched:
        return
    if _is_running(_bottom) and _is_worker():
        _at_worker_exit()
    elif _is_running(_bottom) or _has_returned(_bottom):  # also where somebody runs the exit functions by hand
        _end_all(state_of(None))
    elif (error := _last_error()) is not None:
        _end_all(_by_signal(state_of(error)))
    elif _exit_code is not _NOT_SEEN:
        _end_all(_by_signal(_state_of_code(_exit_code)))
    elif _bottom is None:
        _end_all(state_of(None))
    else:
        # `raise SystemExit(code)`: nobody is told that code. As an idiom it is `raise SystemExit(main())`.
        _end_all(_by_signal({"state": "finished", "reason": "ended by SystemExit, with a code that could not be seen"}))


def _at_worker_exit() -> None:
    """End the runs of a worker of multiprocessing.

    Up to Python 3.12 it calls this while the exception, if there is one, is on its way; from 3.13 on it has dealt with
    that, and only the exit code is left, in a variable of the caller.
    """
    if not _watched:
        return
    error = sys.exc_info()[1]
    code: Any = 0
    frame: FrameType | None = sys._getframe() if error is None else None
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == "multiprocessing.process":  # 3.12: the work has come to its end
            break
        if module in ("multiprocessing.popen_fork", "multiprocessing.forkserver") and "code" in frame.f_locals:
            code = frame.f_locals["code"]
            break
        frame = frame.f_back
    _end_all(_by_signal(_state_of_code(code) if error is None else state_of(error)))


def _by_signal(state: dict[str, Any]) -> dict[str, Any]:
    """Answer the state, or that of a run ended by a signal whose own handler raised what ends the process."""
    if _signalled is None:
        return state
    return {**state, "state": "killed", "signal": _signalled, "reason": f"got {_signalled}"}


def _is_interactive() -> bool:
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _find_bottom() -> FrameType | None:
    main = threading.main_thread().ident
    frame = sys._current_frames().get(main) if main is not None else None
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _is_running(bottom: FrameType | None) -> bool:
    return bottom is not None and _find_bottom() is bottom


def _has_returned(bottom: FrameType | None) -> bool:
    """Answer whether the frame has come to a `return`: one left by an exception stands at what raised it."""
    if bottom is None or bottom.f_lasti < 0:
        return False
    import opcode

    name = opcode.opname[bottom.f_code.co_code[bottom.f_lasti]]
    return name in ("RETURN_VALUE", "RETURN_CONST")


def _last_error() -> BaseException | None:
    """Answer the exception that went through the bottom of the stack, as the interpreter remembers it."""
    error: BaseException | None = getattr(sys, "last_value", None)
    trace = getattr(sys, "last_traceback", None)
    return error if trace is not None and trace.tb_frame is _bottom else None
