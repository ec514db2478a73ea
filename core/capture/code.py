"""Code and environment: what is needed to explain a run and to make its folder again. All of it on a thread of its own.

First the facts that cost nothing, then packages, then git. Each is recorded as soon as it is known, so that a run that
dies early keeps what there was time for; `code/manifest.json` comes last and says that the code is there as a whole.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from ..limits import CAPTURE_DYING_SECONDS, CAPTURE_FINISH_SECONDS, CAPTURE_WORK_SECONDS, MAX_CODE_FILE_BYTES
from ..record import Kind
from .start import Start, read_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..files import Draft
    from ..run import Run
    from .git import Git

MANIFEST = "code/manifest.json"
SCRIPT = "code/script/"
NOTEBOOK = "code/notebook.ipynb"
REQUIREMENTS = "environment/requirements.txt"
CONDA = "environment/conda.txt"
_ROOMS = (".cluster", ".git", ".logged", ".machine", ".notebook", ".packages", ".tree")


def begin(run: Run, settings: Any) -> Callable[[], None]:
    """Begin to capture; see `capture.begin`."""
    capture = _Capture(run, settings, read_start())
    capture.start()
    return capture.end


def _import_all() -> None:
    """Import what is needed, early: later on it might happen while the program ends.

    Importing runs programs from texts, and Python forgets by that, whatever the thread, that an interrupt by the
    keyboard is what ends it.
    """
    from importlib import import_module

    for name in ("importlib.metadata", "json", "selectors", "subprocess", "tempfile"):
        import_module(name)
    for name in ("..blobs", "..files", "..redaction", *_ROOMS):
        import_module(name, __package__)


class _Capture:
    def __init__(self, run: Run, settings: Any, start: Start) -> None:
        self._run = run
        self._start = start
        self._has_meta = not settings.disable_meta
        self._has_git = not settings.disable_git
        self._has_code = settings.save_code is not False and not settings.disable_code
        self._code_dir = settings.code_dir if self._has_code else None
        self._is_redacted = settings.redact is not False
        self._git: Git | None = None
        self._is_wanted = True
        self._is_awaited = False
        self._paused = time.monotonic()
        self._lock = threading.Lock()
        self._frameworks: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._work, name="tracker-code", daemon=True)

    def start(self) -> None:
        if self._has_meta or self._has_git or self._has_code:
            self._thread.start()

    def end(self) -> None:
        """Wait a little for what is under way; add what is only known at the end."""
        self._is_awaited = True
        is_dying = self._run._state not in ("finished", "failed")
        seconds = CAPTURE_DYING_SECONDS if is_dying else CAPTURE_FINISH_SECONDS
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if self._thread.is_alive():
            self._is_wanted = False
            if self._git is not None:
                self._git.stop()
            if not is_dying:
                self._run._complaints.say(
                    "the code was not captured as a whole: the run is over, and git or the disk has not answered yet."
                )
        self._is_wanted = False
        # The thread may be in the middle of a record, and wait for a journal that we were called from within of: by a
        # signal, in the middle of an append.
        if self._lock.acquire(timeout=seconds):
            self._lock.release()
        if is_dying:
            return
        if self._has_code and self._start.is_notebook:
            self._keep(self._notebook())
        if self._has_meta:
            self._tell_frameworks()

    # --- on the thread ------------------------------------------------------------------

    def _work(self) -> None:
        try:
            _import_all()
        except Exception as error:
            self._run._complaints.say(f"code and environment are not captured ({type(error).__name__}: {error}).")
            return
        for task in (self._machine, self._packages, self._code):
            if not self._is_wanted:
                return
            try:
                task()
            except Exception as error:  # whatever a machine has in store; training goes on
                if self._is_wanted:
                    name = task.__name__.lstrip("_")
                    self._run._complaints.say(f"{name} is not captured ({type(error).__name__}: {error}).")

    def _machine(self) -> None:
        if not self._has_meta:
            return
        from . import cluster, machine

        self._tell(self._how_it_was_started())
        facts = {**machine.machine_facts(), **cluster.cluster_facts()}
        if container := cluster.container_facts():
            facts["container"] = container
        if variables := cluster.reproducing_variables():
            facts["env"] = variables
        self._tell(facts)

    def _how_it_was_started(self) -> dict[str, Any]:
        from ..redaction import redact_arguments

        start = self._start
        mask = redact_arguments if self._is_redacted else list
        found: dict[str, Any] = {
            "executable": start.executable or None,
            "args": mask(start.arguments),
            "command": mask(start.command),
            "cwd": start.folder,
            "program": start.script,
            "module": start.module,
        }
        if start.is_notebook:  # the command line is the kernel's
            found = {"executable": start.executable, "cwd": start.folder, "notebook": True}
        return {name: value for name, value in found.items() if value is not None}

    def _packages(self) -> None:
        if not self._has_meta:
            return
        from ..files import Draft
        from . import machine, packages

        text, count = packages.requirements()
        drafts = [Draft(REQUIREMENTS, text.encode("utf-8", "replace"), "environment")]
        if conda := packages.conda_packages():
            drafts.append(Draft(CONDA, conda.encode("utf-8", "replace"), "environment"))
        facts: dict[str, Any] = {"packages": count}
        if libraries := machine.library_facts(text.splitlines()):
            facts["libraries"] = libraries
        if conda:
            facts["conda"] = os.environ.get("CONDA_DEFAULT_ENV") or os.environ.get("CONDA_PREFIX")
        self._tell(facts)
        self._keep(drafts)

    def _code(self) -> None:
        from .tree import Tree, find_root

        start = self._start
        tree = Tree()
        folders = (os.path.dirname(start.script) if start.script else None, start.folder)
        root = find_root(folders) if self._has_git else None
        if root is not None:
            self._ask_git(root, tree)
        base = root or start.folder
        if self._has_code:
            self._take_program(tree, base)
            self._keep(tree.drafts)
            if self._code_dir and start.folder:
                from .logged import log_code

                log_code(self._run, self._code_dir, start.folder, self._is_redacted, None, None)
            self._keep([self._manifest(tree, base)])
        if tree.facts:
            self._tell({"git": {name: value for name, value in tree.facts.items() if value is not None}})

    def _ask_git(self, root: str, tree: Any) -> None:
        from .git import Git, GitTrouble
        from .tree import describe, take_changes, take_submodules, take_untracked, tell_left_out

        git = self._git = Git(root, str(self._run.folder))
        try:
            git.copy_index()
            describe(git, tree)
            self._tell({"git": {name: value for name, value in tree.facts.items() if value is not None}})
            if not self._has_code:
                return
            if tree.manifest.get("commit"):
                take_changes(git, tree, self._is_redacted, self._wanted)
                take_submodules(git, tree)
            runs = str(self._run.folder.parents[2])
            take_untracked(git, tree, runs, self._is_redacted, self._wanted)
        except GitTrouble as error:
            tree.facts["trouble"] = tree.manifest["trouble"] = str(error)
            if self._is_wanted:
                self._run._complaints.say(f"the state of the code in {root} is not captured as a whole: {error}.")
        finally:
            git.close()
        tell_left_out(tree)

    def _take_program(self, tree: Any, base: str | None) -> None:
        """Take the program's own file, tracked or not: what is read first stands alone."""
        start = self._start
        if start.is_notebook:
            tree.drafts += self._notebook()
        if start.script is None or not os.path.isfile(start.script):
            return
        from ..files import Draft, check_file_name
        from ..redaction import redact_bytes
        from .tree import NotKept, read_small

        path = os.path.relpath(start.script, base) if base else os.path.basename(start.script)
        if path.startswith(".."):
            path = os.path.basename(path)
        path = path.replace(os.sep, "/")
        try:
            data, mode = read_small(os.path.realpath(start.script), MAX_CODE_FILE_BYTES)
            name = check_file_name(SCRIPT + path)
        except (NotKept, OSError, ValueError):
            return
        data, count = redact_bytes(data) if self._is_redacted else (data, 0)
        tree.manifest["script"] = {"path": path, "file": name, "mode": mode, "redacted": count}
        tree.drafts.append(Draft(name, data, "code", {"mode": mode, **({"redacted": count} if count else {})}))
        self._tell({"codePath": path})

    def _manifest(self, tree: Any, base: str | None) -> Draft:
        import json

        from ..files import Draft

        folder = self._start.folder
        inside = os.path.relpath(folder, base).replace(os.sep, "/") if folder and base else "."
        manifest = {"version": 1, "root": base, **tree.manifest, "folder": "." if inside.startswith("..") else inside}
        return Draft(MANIFEST, json.dumps(manifest, indent=1).encode(), "code")

    def _notebook(self) -> list[Draft]:
        from ..files import Draft
        from .notebook import executed_cells, notebook_of

        cells = executed_cells()
        if not cells:
            return []
        data, count = notebook_of(cells, self._is_redacted)
        return [Draft(NOTEBOOK, data, "code", {"redacted": count} if count else {})]

    def _tell_frameworks(self) -> None:
        from .machine import framework_facts

        facts = framework_facts()
        if facts:
            self._run._record(Kind.ENVIRONMENT, facts)

    # --- into the run -------------------------------------------------------------------

    def _tell(self, facts: dict[str, Any]) -> None:
        from ..values import plain

        with self._lock:
            if self._is_wanted and facts:
                self._run._record(Kind.ENVIRONMENT, plain(facts))

    def _keep(self, drafts: list[Draft]) -> None:
        from ..files import keep_all

        if drafts:
            keep_all(self._run, drafts, self._wanted_or_ending)

    def _wanted(self) -> bool:
        """Answer whether there is any use in going on; the training thread has its turn first, unless it waits for us."""
        worked = time.monotonic() - self._paused
        if worked > CAPTURE_WORK_SECONDS and not self._is_awaited:
            time.sleep(min(3 * worked, 1.0))
            self._paused = time.monotonic()
        return self._is_wanted

    def _wanted_or_ending(self) -> bool:
        return self._is_wanted or threading.current_thread() is not self._thread
