"""Lets us in right after a training framework was imported; runs at the start of every interpreter.

`tracker_autoload.pth` (and `.start`, from Python 3.15 on) calls `install()` wherever tracker is installed. So this
file imports only `sys`, does one look-up per imported module, and makes of each fault of its own one line on standard
error. TRACKER_DISABLED in the environment, with any value, keeps it out. The table is empty until the integrations come.
"""

import sys

# framework module -> "module:function" of ours, called with the framework's module once its body has run
HOOKS = {}


class _Loader:
    def __init__(self, real, target):
        self._real = real
        self._target = target

    def __getattr__(self, name):
        if name == "_real":  # a copy in the making has none yet; asking for it would never end
            raise AttributeError(name)
        return getattr(self._real, name)

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        # Leave no trace: inspect, pickle and reload see the module's own loader.
        module.__spec__.loader = module.__loader__ = self._real
        self._real.exec_module(module)
        _call(self._target, module)


class Finder:
    """Answers for the modules in `HOOKS` and for no other: one look-up per import."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Let the other finders find the module, and put our loader around its own."""
        hook = HOOKS.get(name)
        if hook is None:
            return None
        for finder in sys.meta_path:
            find = None if finder is Finder else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, hook)
                return spec
        return None


def install():
    """Put the finder in front; a second call does nothing. Without hooks there is nothing to find."""
    try:
        os = sys.modules.get("os")  # `site` has imported it; a `.start` file comes here without the `.pth`'s question
        if not HOOKS or Finder in sys.meta_path or (os and "TRACKER_DISABLED" in os.environ):
            return
        sys.meta_path.insert(0, Finder)
        for name in HOOKS:
            if name in sys.modules:  # imported before we came: `python -S`, or a `.pth` that sorts before ours
                _call(HOOKS[name], sys.modules[name])
    except Exception as error:
        _say("", error)


def _call(target, module):
    try:
        name, _, function = target.partition(":")
        __import__(name)
        getattr(sys.modules[name], function)(module)
    except Exception as error:  # never the end of somebody's import
        ours = sys.modules.get("tracker")
        if ours is None or hasattr(ours, "__path__"):  # a user's own tracker.py is no package, and no fault
            _say(" for " + getattr(module, "__name__", "?"), error)


def _say(where, error):
    try:
        sys.stderr.write(f"tracker: the hook{where} failed: {error!r}\n")
    except Exception:  # noqa: S110 - there is no standard error to say it on
        pass
