"""Lets us in right after a training framework was imported; runs at the start of every interpreter.

`tracker_autoload.pth` (and `.start`, from Python 3.15 on) calls `install()` wherever tracker is installed, and so does
`import tracker` where they are not read (`python -S`, another environment's folder on the path). So this file imports
only `sys`, does one look-up per imported module, and makes of each fault of its own one line on standard error.
TRACKER_DISABLED in the environment, with any value, keeps it out. A test compares the tables with the registry.
"""

import sys

# Framework module -> "module:function" of ours, called with the framework's module once its body has run. These only
# make a name known ("tracker" as a reporter), ...
HOOKS = {
    "lightning.pytorch.trainer.connectors.logger_connector.logger_connector": "tracker.integrations.lightning:know_tracker",
    "lightning.pytorch.trainer.connectors.checkpoint_connector": "tracker.integrations.lightning:follow_checkpoints",
    "pytorch_lightning.trainer.connectors.logger_connector.logger_connector": "tracker.integrations.lightning:know_tracker",
    "pytorch_lightning.trainer.connectors.checkpoint_connector": "tracker.integrations.lightning:follow_checkpoints",
    "accelerate.tracking": "tracker.integrations.accelerate:_hook",
    "transformers.integrations.integration_utils": "tracker.integrations.transformers:_name_reporter",
    "transformers.trainer": "tracker.integrations.transformers:_follow_trainer",
    "trl.trainer.base_trainer": "tracker.integrations.transformers:_follow_cards_of",
    "trl.trainer.callbacks": "tracker.integrations.transformers:_follow_completions",
    "sentence_transformers.base.trainer": "tracker.integrations.transformers:_follow_cards_of",
}
# ... and these are called only where autologging is asked for: nobody else pays for the import of our file.
AUTOLOG = {
    "keras.src.models.model": "tracker.integrations.keras:_autolog",
    "tf_keras.src.engine.training": "tracker.integrations.keras:_autolog",
    "diffusers.pipelines.pipeline_utils": "tracker.integrations.diffusers:_autolog",
    "accelerate.tracking": "tracker.integrations.accelerate:_hook",
    "fastai.learner": "tracker.integrations.fastai:_autolog",
    "gymnasium.wrappers.rendering": "tracker.integrations.gymnasium:_autolog",
    "spacy.training.loop": "tracker.integrations.spacy:_autolog",
    "stable_baselines3.common.base_class": "tracker.integrations.stable_baselines3:_autolog",
    "torch.optim.optimizer": "tracker.integrations.torch:_autolog",
    "torch.amp.grad_scaler": "tracker.integrations.torch:_autolog_scaler",
    "optuna.study.study": "tracker.integrations.optuna:_autolog",
    "sklearn.base": "tracker.integrations.sklearn:patch_base",
    "sklearn.metrics": "tracker.integrations.sklearn:patch_metrics",
    "tensorboard.summary.writer.event_file_writer": "tracker.integrations.tensorboard:_autolog",
    "tensorboardX.event_file_writer": "tracker.integrations.tensorboard:_autolog",
    "tensorflow.python.ops.gen_summary_ops": "tracker.integrations.tensorboard:_autolog",
    "lightning.pytorch.trainer.connectors.callback_connector": "tracker.integrations.lightning:autolog",
    "pytorch_lightning.trainer.connectors.callback_connector": "tracker.integrations.lightning:autolog",
    "lightning.fabric.fabric": "tracker.integrations.lightning:autolog",
    "lightning_fabric.fabric": "tracker.integrations.lightning:autolog",
    "xgboost.training": "tracker.integrations.xgboost:autolog",
    "xgboost.sklearn": "tracker.integrations.xgboost:autolog",
    "lightgbm.engine": "tracker.integrations.lightgbm:autolog",
    "lightgbm.sklearn": "tracker.integrations.lightgbm:autolog",
    "catboost.core": "tracker.integrations.catboost:autolog",
    "transformers.integrations.integration_utils": "tracker.integrations.transformers:_autolog",
    "ultralytics.utils.callbacks": "tracker.integrations.ultralytics:_autolog",
}
# Functions of ours that have asked since for a module of the tables.
waiting = {}
# Where our package lies, if not beside this file; it tells so itself. Any other `tracker` is somebody's own.
places = []
began = None  # how the finder came into place: "start-up" or "import", of the package

_OFF = ("", "0", "false", "no", "off")
_ALL = ("1", "true", "yes", "on", "all")
_under_way = set()  # modules that are being looked for: other finders ask us again for what we ask them
_told = set()


class _Loader:
    def __init__(self, real, name):
        self._real = real
        self._name = name

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
        _has_run(self._name, module)

    # Nor one in tracebacks, and warnings that a framework gives at its import are laid at the importer's door: Python
    # passes over frames of its import system, and this is one while it lasts.
    exec_module.__code__ = exec_module.__code__.replace(co_filename="<frozen importlib._bootstrap>")


class Finder:
    """Answers for the modules in the tables and for no other: a look-up or two per import."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Let the other finders find the module, and put our loader around its own."""
        if (name not in HOOKS and name not in AUTOLOG) or name in _under_way:
            return None
        _under_way.add(name)
        try:
            spec = _find(name, path, target)
        finally:
            _under_way.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, name)
        return spec


def install(place=None):
    """Put the finder in front; a second call does nothing. Without hooks there is nothing to find.

    `place` is given by `import tracker`: where the package lies. The user has asked for it then, so that the names it
    makes known are known also where TRACKER_DISABLED keeps everything else out.
    """
    global began
    try:
        os = sys.modules.get("os")  # `site` has imported it; a `.start` file comes here without the `.pth`'s question
        if place is not None and place not in places:
            places.append(place)
        if not (HOOKS or AUTOLOG) or Finder in sys.meta_path:
            return
        if place is None and os and "TRACKER_DISABLED" in os.environ:
            return
        sys.meta_path.insert(0, Finder)
        began = "start-up" if place is None else "import"
        for name in {**HOOKS, **AUTOLOG}:
            module = loaded(name)
            if module is not None:  # imported before we came
                _has_run(name, module)
    except Exception as error:
        _say("", error)


def loaded(name):
    """Answer a module that has run; None for one that is not there, or is still running."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def autolog_loaded():
    """Call ours for what was loaded before autologging was asked for."""
    for name, target in AUTOLOG.items():
        module = loaded(name)
        if module is not None and _is_asked(_framework(target)):
            _call(target, module)


def is_listed(framework):
    """Answer whether TRACKER_AUTOLOG asks for a framework: "1", a list of names, "-name" for all but that one."""
    answer = (text := _wish()).startswith("-")
    for name in text.split(","):
        wanted = not (name := name.strip()).startswith("-")
        name = canonical(name.lstrip("-"))
        if name in _ALL or name == framework:
            answer = wanted
    return answer


def canonical(name):
    """Answer the name of the integration for a name that people may use: pytorch_lightning's is lightning."""
    name = name.strip().lower().replace("-", "_")
    if name == "scikit_learn":
        return "sklearn"
    for module, target in AUTOLOG.items():
        if module.partition(".")[0] == name:
            return _framework(target)
    return name


def _wish():
    os = sys.modules.get("os")
    if os is None or "TRACKER_DISABLED" in os.environ:
        return ""
    text = os.environ.get("TRACKER_AUTOLOG", "").strip().lower()
    return "" if text in _OFF else text


def _is_asked(framework):
    # Once it is loaded the package decides: it also knows what `tracker.autolog` was told.
    decide = getattr(sys.modules.get("tracker.integrations.patching"), "is_autologging", None)
    return decide(framework) if decide else is_listed(framework)


def _framework(target):
    return target.partition(":")[0].rpartition(".")[2]


def _has_run(name, module):
    try:
        if name in HOOKS:
            _call(HOOKS[name], module)
        if name in AUTOLOG:
            if _wish():
                _check_names()
            if _is_asked(_framework(AUTOLOG[name])):
                _call(AUTOLOG[name], module, "TRACKER_AUTOLOG")
        for call in waiting.get(name, ()):
            call(module)
    except Exception as error:  # never the end of somebody's import
        _say(" for " + name, error)


def _call(target, module, wish=None):
    whose = _whose()
    if whose:  # a user's own tracker.py is no fault; only who has asked for us needs to know
        if wish and _wish() and _is_first():
            _say_once(f"{wish} has no effect here: `import tracker` finds {whose}, which is not this package.")
        return
    try:
        name, _, function = target.partition(":")
        __import__(name)
        getattr(sys.modules[name], function)(module)
    except Exception as error:
        _say(" for " + getattr(module, "__name__", "?"), error)


def _find(name, path=None, target=None):
    for finder in list(sys.meta_path):
        find = None if finder is Finder else getattr(finder, "find_spec", None)
        spec = find(name, path, target) if find else None
        if spec is not None:
            return spec
    return None


def _whose():
    """Answer the file of a `tracker` that is not ours, without running it; None where `import tracker` gives ours.

    Object trackers are common in vision code: a tracker.py beside the script, or a package of that name.
    """
    there = sys.modules.get("tracker")
    spec = None if there is not None else _find("tracker")
    folders = getattr(there, "__path__", None) if spec is None else spec.submodule_search_locations
    path = sys.modules["os"].path
    checkout = getattr(sys.modules.get("_tracker_checkout"), "FOLDER", None)  # an editable install
    beside = path.join(path.dirname(__file__), "tracker")
    ours = {path.normcase(path.realpath(place)) for place in (beside, checkout, *places) if place}
    for folder in folders or ():
        if path.normcase(path.realpath(folder)) in ours:
            return None
    origin = getattr(there, "__file__", None) if spec is None else spec.origin
    return origin or (next(iter(folders)) if folders else "none")


def known():
    """Answer the frameworks whose trainings can be logged by themselves."""
    return sorted({_framework(target) for target in AUTOLOG.values()})


def unknown(text):
    """Answer the names in a text like TRACKER_AUTOLOG's that mean nothing."""
    words = [*known(), *_ALL, *_OFF]
    names = [canonical(name.strip().lstrip("-")) for name in text.split(",")]
    return [name for name in names if name not in words]


def _check_names():
    for name in unknown(_wish()):
        if _is_first():
            _say_once(f"TRACKER_AUTOLOG names {name!r}, which is not known; there is: {', '.join(known())}.")


def _is_first():
    """Answer whether this is no worker, and no rank but the first: N processes need not all say the same."""
    environ = sys.modules["os"].environ
    if any(environ.get(name, "0") not in ("0", "") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")):
        return False
    parent = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
    return parent is None or parent() is None


def _say_once(sentence):
    if sentence not in _told:
        _told.add(sentence)
        _write(sentence)


def _say(where, error):
    _write(f"the hook{where} failed: {error!r}")


def _write(sentence):
    try:
        sys.stderr.write(f"tracker: {sentence}\n")
    except Exception:  # noqa: S110 - there is no standard error to say it on
        pass
