"""What runs at the start of every interpreter: a finder that lets us in right after a framework was imported.

Only `sys` is imported, nothing is decided, nothing can be raised. The table is empty until the integrations come.
"""

import sys

# framework module -> "module:function" of ours, called with the framework's module once its body has run
HOOKS = {}


class _Loader:
    def __init__(self, real, target):
        self._real = real
        self._target = target

    def __getattr__(self, name):
        return getattr(self._real, name)

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        # Leave no trace: inspect, pickle and reload see the module's own loader.
        module.__spec__.loader = module.__loader__ = self._real
        self._real.exec_module(module)
        try:
            name, _, function = self._target.partition(":")
            __import__(name)
            getattr(sys.modules[name], function)(module)
        except Exception as error:  # never the end of somebody's import
            sys.stderr.write(f"tracker: the hook for {module.__name__} failed: {error!r}\n")


class Finder:
    """Answers for the modules in `HOOKS` and for no other: one look-up per import."""

    @staticmethod
    def find_spec(name, path=None, target=None):
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
    if HOOKS and Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
