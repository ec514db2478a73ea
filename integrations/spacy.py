"""spaCy: scores, losses and models at each evaluation, by the entry point `tracker.Logger.v1` of `spacy_loggers`."""

# No `from __future__ import annotations`: spaCy checks a config against what these annotations are, not say.

import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import IO, Any

import tracker

from .base import Session
from .patching import wrap

_NAME = "spacy"


def tracker_logger(
    project: str | None = None,
    run_name: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    remove_config_values: list[str] = [],  # noqa: B006 - spaCy looks at the default's kind
    log_model: str | None = None,
    progress_bar: str | None = None,
    console_output: bool = True,
) -> Callable[..., tuple[Callable[[Any], None], Callable[[], None]]]:
    """Answer a logger for a training's config; the console's table is printed too.

    [training.logger]
    @loggers = "tracker.Logger.v1"
    project = "ner"

    Args:
        project: Where the run is kept.
        run_name: What people read.
        entity: Whose project it is.
        group: Runs that belong together.
        tags: Labels.
        remove_config_values: Names of values that are left out of the run's config: "paths.train".
        log_model: Which models become versions of an artifact; `TRACKER_LOG_MODEL` without it.
        progress_bar: As for `spacy.ConsoleLogger.v3`: "train" or "eval".
        console_output: Whether that prints its table.
    """
    arguments = {"project": project, "name": run_name, "entity": entity, "group": group, "tags": tags}

    def setup_logger(
        nlp: Any, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr
    ) -> tuple[Callable[[Any], None], Callable[[], None]]:
        from spacy.training.loggers import console_logger_v3

        print_step, close = console_logger_v3(progress_bar, console_output)(nlp, stdout, stderr)
        training = _Training(
            nlp, remove_config_values, log_model, {key: value for key, value in arguments.items() if value is not None}
        )
        earlier = sys.exc_info()[1]

        def log_step(info: Mapping[str, Any] | None) -> None:
            print_step(info)
            if info is not None:
                training.take(info)

        def finalize() -> None:
            close()
            # spaCy calls this while an exception passes as well, and does not say so.
            error = sys.exc_info()[1]
            training.end(error if error is not earlier else None)

        return log_step, finalize

    return setup_logger


class _Training:
    """One training's way into a run."""

    def __init__(self, nlp: Any, removed: list[str], log_model: str | None, arguments: dict[str, Any]) -> None:
        self._session = Session(_NAME, **arguments)
        self._log_model = log_model
        self._begin(nlp, removed)

    @tracker.guarded
    def _begin(self, nlp: Any, removed: list[str]) -> None:
        config = {str(section): dict(values) for section, values in nlp.config.interpolate().items()}
        for name in removed:
            _remove(config, name.split("."))
        self._session.begin({**config, "model": {"lang": nlp.lang, "pipeline": list(nlp.pipe_names)}})

    @tracker.guarded
    def take(self, info: Mapping[str, Any]) -> None:
        """Log an evaluation, and the model that was saved for it."""
        losses = {f"loss_{pipe}": value for pipe, value in (info.get("losses") or {}).items()}
        data = {name: info.get(name) for name in ("score", "epoch", "words", "seconds")}
        self._session.log({**data, **losses, **(info.get("other_scores") or {})}, step=info["step"])
        path = info.get("output_path")
        if path:
            best = max((score for score, _ in info.get("checkpoints") or []), default=None)
            self._session.checkpoint(
                path,
                step=info["step"],
                aliases=["best"] if info.get("score") == best else [],
                metadata={"score": info.get("score"), "epoch": info.get("epoch")},
                log_model=self._log_model,
            )

    @tracker.guarded
    def end(self, error: BaseException | None) -> None:
        """End the training as it has ended."""
        if error is None:
            self._session.pause()
        else:
            self._session.fail(error)


def _remove(config: dict[str, Any], path: list[str]) -> None:
    *sections, last = path
    place: Any = config
    for section in sections:
        place[section] = dict(place.get(section) or {})  # the framework's own is not touched
        place = place[section]
    place.pop(last, None)


def _autolog(module: ModuleType) -> None:
    """`spacy.training.loop` was imported: each training is logged, whichever logger its config names."""
    wrap(module, "train_while_improving", _logging_steps, _NAME)


def _logging_steps(original: Callable[..., Any], nlp: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    steps = original(nlp, *args, **kwargs)
    training = None
    with tracker.guard("logging of this training"):
        logger = str((nlp.config.get("training") or {}).get("logger"))
        if "tracker.Logger" not in logger:  # it logs by itself
            training = _Training(nlp, [], None, {})
    return steps if training is None else _logged(steps, training)


def _logged(steps: Iterator[Any], training: _Training) -> Iterator[Any]:
    error: BaseException | None = None
    try:
        for step in steps:
            yield step
            _, info, is_best = step
            if is_best is not None:  # an evaluation, whose model has been saved by now
                training.take(info)
    except GeneratorExit:  # the loop around us has ended early
        raise
    except BaseException as raised:
        error = raised
        raise
    finally:
        training.end(error)
