"""Stable-Baselines3: everything its logger records, each finished episode, saved models and recorded videos."""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import tracker

from .base import Session, model_choice, require
from .gymnasium import VideoFolder
from .patching import wrap

_NAME = "stable_baselines3"
_RUN_ID = "tracker_run_id"  # of the model, which saves all its attributes
_NO_ARGUMENTS = ("self", "args", "kwargs", "env", "policy", "monitor_wrapper", "supported_action_spaces", "verbose")
_OF_EPISODE = {"r": "return", "l": "length", "t": "time"}


def __getattr__(name: str) -> Any:
    if name not in ("TrackerCallback", "TrackerOutputFormat"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _classes()[name]


@functools.cache
def _classes() -> dict[str, Any]:
    require(_NAME)
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import KVWriter
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    class TrackerOutputFormat(KVWriter):
        """Writes what the logger records to a run, at the number of steps taken in the environments.

        Args:
            session: Whose run.
        """

        def __init__(self, session: Session) -> None:
            self.session = session
            self.offset = 0
            self.last_step = -1
            self.is_training = True
            self.log_model: bool | str | None = None

        @tracker.guarded
        def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
            """Log one dump of the logger."""
            data = {
                key: _value(value)
                for key, value in key_values.items()
                if "tracker" not in (key_excluded.get(key) or ())
            }  # fmt: skip
            self.session.log(data, step=step + self.offset)
            self.last_step = step

        def close(self) -> None:
            """Leave the run to who has opened it."""

    class TrackerCallback(BaseCallback):
        """Log a training of Stable-Baselines3: `model.learn(10_000, callback=TrackerCallback())`.

        Logged are the algorithm's arguments, everything that its logger records, each finished episode, the videos
        that `RecordVideo` or `VecVideoRecorder` write around its environments, and the models that are saved.

        Args:
            run: The run to log to; it stays open afterwards. Without one it is the current run, and where there is
                none, one is begun.
            verbose: As in other callbacks.
            log: What is recorded of the policy: "gradients", "parameters", "all" or False; `TRACKER_WATCH` without it.
            log_freq: At every so many steps of the optimizer.
            log_model: Whether models that are saved become versions of an artifact: "checkpoint", "end" (also saves
                the model when training ends) or False; `TRACKER_LOG_MODEL` without it.
            log_videos: Whether recorded videos are logged.
            arguments: Of `tracker.init`, for a run that has to be begun.

        Example:
            PPO("MlpPolicy", "CartPole-v1").learn(10_000, callback=TrackerCallback(project="cartpole"))
        """

        def __init__(
            self,
            run: tracker.Run | None = None,
            *,
            verbose: int = 0,
            log: bool | str | None = None,
            log_freq: int = 1000,
            log_model: bool | str | None = None,
            log_videos: bool = True,
            **arguments: Any,
        ) -> None:
            super().__init__(verbose)
            self._given = run
            self._arguments = arguments
            self._log = log
            self._log_freq = log_freq
            self._log_model = log_model
            self._log_videos = log_videos
            self._session = Session(_NAME, run, **arguments)
            self._writer: Any = None
            self._folders: list[VideoFolder] = []
            for algorithm in (OnPolicyAlgorithm, OffPolicyAlgorithm):
                wrap(algorithm, "learn", _failing, _NAME, always=True)
            wrap(OnPolicyAlgorithm.__base__, "save", _keeping, _NAME, always=True)

        @tracker.guarded
        def _init_callback(self) -> None:
            step = self.model.num_timesteps
            session = self._session
            begins_anew = session.run is not None and session.run.step > step
            if begins_anew and session.is_owner:  # another training with the same callback
                session.end()
                session = self._session = Session(_NAME, self._given, **self._arguments)
                begins_anew = False
            run_id = getattr(self.model, _RUN_ID, None)
            config = {"args": _arguments(self.model), "env": _environment(self.model), "model": _model(self.model)}
            run = session.begin(config, resume=(run_id, step) if run_id and step else None)
            if run is None:
                return
            setattr(self.model, _RUN_ID, run.id)
            self._writer = TrackerOutputFormat(session)
            self._writer.log_model = self._log_model
            # Somebody else's run, and steps that were there before: they go on behind those.
            self._writer.offset = int(run.step) if begins_anew else 0
            formats = self.model.logger.output_formats
            formats[:] = [one for one in formats if not isinstance(one, TrackerOutputFormat)]
            formats.append(self._writer)
            session.watch(self.model.policy, self._log, self._log_freq)
            if self._log_videos:
                self._folders = [VideoFolder(path) for path in sorted(set(_video_folders(self.model.get_env())))]

        @tracker.guarded
        def _on_training_start(self) -> None:
            told = ("total_timesteps", "log_interval", "reset_num_timesteps")
            self._session.configure("learn", {name: self.locals[name] for name in told if name in self.locals})

        @tracker.guarded(returns=True)
        def _on_step(self) -> bool:
            dones = self.locals.get("dones")
            if self._writer is not None and dones is not None and dones.any():
                self._log_episodes(dones, self.locals["infos"])
                self._log_new_videos()
            return True

        @tracker.guarded
        def _on_rollout_end(self) -> None:
            if self._folders and self.n_calls > 1:
                self._log_new_videos()

        @tracker.guarded
        def _on_training_end(self) -> None:
            if self._writer is None:
                return
            logger = self.model.logger
            # What was recorded after the last dump is written by nobody: on-policy algorithms train once more.
            if logger.name_to_value:
                step = self.num_timesteps + (self._writer.last_step == self.num_timesteps)
                self._writer.write(dict(logger.name_to_value), dict(logger.name_to_excluded), step)
            self._log_new_videos()
            self._writer.is_training = False
            if model_choice(self._log_model) in ("end", "checkpoint"):
                with tempfile.TemporaryDirectory() as folder:
                    self.model.save(os.path.join(folder, "model.zip"))  # `_keeping` keeps it
            self._session.pause()

        def _log_episodes(self, dones: Any, infos: Any) -> None:
            # One call steps all environments, and counts them all: each has a step of its own.
            first = self.model.num_timesteps - len(dones) + 1 + self._writer.offset
            for number, info in enumerate(infos):
                if dones[number] and "episode" in info:
                    data = {f"episode/{_OF_EPISODE.get(key, key)}": value for key, value in info["episode"].items()}
                    if "is_success" in info:
                        data["episode/success"] = float(info["is_success"])
                    self._session.log(data, step=first + number)

        def _log_new_videos(self) -> None:
            for folder in self._folders:
                for key, path in folder.new():
                    caption = os.path.splitext(os.path.basename(path))[0]
                    step = self.num_timesteps + self._writer.offset
                    self._session.log({key: tracker.Video(path, caption=caption)}, step=step)

    found = {"TrackerOutputFormat": TrackerOutputFormat, "TrackerCallback": TrackerCallback}
    for name, made in found.items():
        made.__module__, made.__qualname__ = __name__, name
    return found


# --- what others call ------------------------------------------------------------------------------


def _autolog(module: ModuleType) -> None:
    """`stable_baselines3.common.base_class` was imported: each training gets our callback."""
    wrap(module.BaseAlgorithm, "_init_callback", _with_ours, _NAME)


def _with_ours(original: Callable[..., Any], model: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
    theirs = original(model, callback, *args, **kwargs)
    with tracker.guard("logging of this training"):
        from stable_baselines3.common.callbacks import CallbackList

        ours = _classes()["TrackerCallback"]
        if not any(isinstance(one, ours) for one in _each(theirs)):
            mine = ours()
            mine.init_callback(model)
            both = CallbackList([theirs, mine])
            both.model = model  # its own `init_callback` would begin theirs a second time
            return both
    return theirs


def _failing(original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
    """`learn` has no event for its failure."""
    try:
        return original(model, *args, **kwargs)
    except BaseException as error:
        writer = _writer(model)
        if writer is not None:
            writer.session.fail(error)
        raise


def _keeping(original: Callable[..., Any], model: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
    """Whoever saves a model, a callback or the user: it becomes a version of the run's model."""
    answer = original(model, path, *args, **kwargs)
    with tracker.guard("a saved model"):
        writer = _writer(model)
        if writer is not None and isinstance(path, (str, os.PathLike)):
            saved = next((name for name in (os.fspath(path), f"{os.fspath(path)}.zip") if os.path.isfile(name)), None)
            if saved is not None:
                is_best = os.path.basename(saved) == "best_model.zip"  # EvalCallback's name
                writer.session.checkpoint(
                    saved,
                    step=model.num_timesteps + writer.offset,
                    aliases=["best"] if is_best else [],
                    is_last=not writer.is_training,
                    log_model=writer.log_model,
                )
    return answer


def _writer(model: Any) -> Any:
    logger = getattr(model, "_logger", None)
    for one in getattr(logger, "output_formats", ()):
        if type(one).__module__ == __name__:
            return one
    return None


def _each(callback: Any) -> Iterator[Any]:
    yield callback
    for inner in (*getattr(callback, "callbacks", ()), getattr(callback, "callback", None)):
        if inner is not None:
            yield from _each(inner)


# --- what is told ----------------------------------------------------------------------------------


def _arguments(model: Any) -> dict[str, Any]:
    """Answer the arguments of the algorithm's constructor, as far as the model still knows them."""
    found: dict[str, Any] = {"algorithm": type(model).__name__}
    for kind in type(model).__mro__:
        if "__init__" not in vars(kind) or not kind.__module__.startswith(("stable_baselines3", "sb3_contrib")):
            continue
        for name in inspect.signature(kind.__init__).parameters:  # type: ignore[misc]
            if name not in _NO_ARGUMENTS and not name.startswith("_") and hasattr(model, name):
                found.setdefault(name, _argument(getattr(model, name)))
    found["policy"] = getattr(model.policy_class, "__name__", str(model.policy_class))
    return found


def _argument(value: Any) -> Any:
    if getattr(value, "__module__", None) == "stable_baselines3.common.utils" and callable(value):
        if value(1.0) == value(0.5) == value(0.0):  # a schedule that was made of a number
            return float(value(1.0))
        value = getattr(value, "value_schedule", value)
        return {"schedule": type(value).__name__, **vars(value)}
    if hasattr(value, "_asdict"):  # TrainFreq
        value = value._asdict()
    return str(value) if type(value).__name__ == "device" else value


def _environment(model: Any) -> dict[str, Any]:
    found = {
        "n_envs": getattr(model, "n_envs", None),
        "observation_space": str(getattr(model, "observation_space", "")),
        "action_space": str(getattr(model, "action_space", "")),
    }
    inside = getattr(model.get_env(), "unwrapped", None)
    environments = getattr(inside, "envs", None)  # those in other processes are not asked: one that fails is gone
    if environments:
        spec = getattr(environments[0], "spec", None)
        found["id"] = getattr(spec, "id", None) or type(environments[0].unwrapped).__name__
        found["max_episode_steps"] = getattr(spec, "max_episode_steps", None)
    return {key: value for key, value in found.items() if value is not None}


def _model(model: Any) -> dict[str, Any]:
    parameters = list(model.policy.parameters())
    return {
        "policy": type(model.policy).__name__,
        "parameters": sum(one.numel() for one in parameters),
        "device": str(model.device),
    }


def _video_folders(env: Any) -> Iterator[str]:
    """Answer where recorders around the environments put their videos."""
    from gymnasium.wrappers import RecordVideo

    if env is None:
        return
    if any(env.env_is_wrapped(RecordVideo)):  # asked first: a process whose environment lacks an attribute ends
        recorded = [number for number, is_so in enumerate(env.env_is_wrapped(RecordVideo)) if is_so]
        yield from (os.fspath(path) for path in env.get_attr("video_folder", indices=recorded))
    while env is not None:
        folder = vars(env).get("video_folder")  # VecVideoRecorder
        if folder:
            yield os.fspath(folder)
        env = getattr(env, "venv", None)


def _value(value: Any) -> Any:
    """Answer one of our values for what the logger takes beside numbers and texts."""
    kind = type(value).__name__
    if type(value).__module__ == "stable_baselines3.common.logger":
        if kind == "Video":
            return tracker.Video(value.frames, fps=round(value.fps))
        if kind == "Image":
            return tracker.Image(_channels_last(value.image, value.dataformats))
        if kind == "Figure":
            return tracker.Image(value.figure)
        if kind == "HParam":
            return {**value.hparam_dict, **value.metric_dict}
    if getattr(value, "ndim", 0):
        return tracker.Histogram(value)
    return value


def _channels_last(image: Any, axes: str) -> Any:
    if isinstance(image, str) or not hasattr(image, "shape"):
        return image
    order = [axes.upper().index(axis) for axis in "NHWC" if axis in axes.upper()]
    return image.permute(*order) if hasattr(image, "permute") else image.transpose(order)
