"""transformers: rows of an evaluation, taken from its batches as they go by.

A trainer throws away what a model has answered unless there is `compute_metrics`. Here a few rows of each batch are
looked at where the model's answers are, and the little that a table needs of them is kept: nothing is computed twice,
nothing is gathered over ranks, and the device is asked when the evaluation is over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tracker

from .base import sample_rows

_IGNORED = -100  # what transformers puts where there is no label
COLUMNS = ("index", "input", "label", "prediction", "confidence", "loss")


class Taken(NamedTuple):
    """Rows of one batch, on the device they were computed on.

    Args:
        task: How they are to be read.
        indices: Their places in the data set; None where it was not read in order.
        inputs: What the model was given, by name: these rows of it.
        labels, answers, confidences, losses: Of these rows.
    """

    task: str
    indices: list[int | None]
    inputs: dict[str, Any]
    labels: Any
    answers: Any
    confidences: Any = None
    losses: Any = None


class Samples:
    """Looks at an evaluation, and answers rows for a table.

    Args:
        limit: How many rows at most.
        processing_class: The tokenizer or image processor, if there is one.
    """

    def __init__(self, limit: int, processing_class: Any) -> None:
        self._limit = limit
        self._processor = processing_class
        self._taken: list[Taken] = []
        self._outputs: Any = None
        self._names: dict[int, str] = {}

    # --- looking on --------------------------------------------------------------------------

    @contextlib.contextmanager
    def following(self, trainer: Any, dataloader: Any) -> Iterator[None]:
        """Look at the batches of one evaluation. The trainer is as it was when that is over."""
        places = _Places(trainer, dataloader, self._limit)
        config = _config_of(trainer.model)
        self._names = {int(key): str(name) for key, name in (getattr(config, "id2label", None) or {}).items()}
        step, loss = trainer.prediction_step, trainer.compute_loss

        def compute_loss(*args: Any, **kwargs: Any) -> Any:
            answer = loss(*args, **kwargs)
            self._outputs = answer[1] if isinstance(answer, tuple) and len(answer) == 2 else None
            return answer

        def prediction_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self._outputs = None
            rows: list[tuple[int, int | None]] = []
            labels: Any = None
            with tracker.guard("the table of predictions"):
                rows = places.next(_length(inputs))
                if rows:  # they may be taken out of the inputs by the step
                    labels = _chosen(_labels_of(trainer, inputs), rows)
            answer = step(model, inputs, *args, **kwargs)
            with tracker.guard("the table of predictions"):
                if rows:
                    self._take(trainer, config, inputs, rows, labels, answer)
            self._outputs = None
            return answer

        with _instead(trainer, prediction_step=prediction_step, compute_loss=compute_loss):
            yield

    def _take(self, trainer: Any, config: Any, inputs: Any, rows: Any, labels: Any, answer: Any) -> None:
        import torch  # there is a trainer: it is loaded

        with torch.no_grad():
            is_generated = bool(getattr(trainer.args, "predict_with_generate", False)) and _is_tokens(answer[1])
            answers = answer[1] if is_generated else _logits(self._outputs, answer[1], _is_plain(trainer))
            if not _has_rows(answers, _length(inputs)):
                return
            found = _read(trainer.model, config, inputs, _chosen(answers, rows), labels, rows, is_generated)
        if found is not None:
            indices = [index for _, index in rows]
            self._taken.append(Taken(found[0], indices, _shown(inputs, rows, found[0]), labels, *found[1:]))

    # --- the table ---------------------------------------------------------------------------

    def rows(self) -> list[list[Any]]:
        """Answer the rows, a cell for each of `COLUMNS`."""
        found: list[list[Any]] = []
        for taken in self._taken:
            count = len(taken.indices)
            inputs = self._inputs(taken, count)
            labels = self._words(taken.labels, taken, count)
            answers = self._words(taken.answers, taken, count)
            confidences, losses = _numbers(taken.confidences, count), _numbers(taken.losses, count)
            for row in range(count):
                found.append(
                    [taken.indices[row], inputs[row], labels[row], answers[row], confidences[row], losses[row]]
                )
        self._taken.clear()
        return found

    def _inputs(self, taken: Taken, count: int) -> list[Any]:
        pixels = taken.inputs.get("pixel_values")
        if pixels is not None:
            return [_picture(each, self._processor) for each in pixels]
        ids = taken.inputs.get("input_ids")
        if ids is None:
            return [None] * count
        mask = taken.inputs.get("attention_mask")
        rows = ids.tolist()
        if mask is not None and mask.shape == ids.shape:
            rows = [
                [one for one, is_seen in zip(row, seen, strict=True) if is_seen]
                for row, seen in zip(rows, mask.tolist(), strict=True)
            ]
        return [self._text(row) for row in rows]

    def _words(self, values: Any, taken: Taken, count: int) -> list[Any]:
        """Answer labels or predictions as people read them."""
        if values is None:
            return [None] * count
        if taken.task == "span":
            return [self._span(taken, row, values) for row in range(count)]
        rows = values.tolist()
        if taken.task == "classes":
            return [self._name(row) for row in rows]
        if taken.task == "marks":  # several of them may hold
            return [", ".join(self._name(at) for at, is_set in enumerate(row) if is_set) for row in rows]
        if taken.task == "numbers":
            return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]
        kept = [[one for one in row if one != _IGNORED] for row in rows]
        if taken.task == "tags":
            return [" ".join(self._name(one) for one in row) for row in kept]
        return [self._text(row) for row in kept]

    def _span(self, taken: Taken, row: int, values: Any) -> str | None:
        ids = taken.inputs.get("input_ids")
        first, last = (int(one) for one in values[row].tolist())
        return None if ids is None else self._text(ids[row].tolist()[first : last + 1])

    def _name(self, number: int) -> str:
        return self._names.get(int(number), str(int(number)))

    def _text(self, ids: Sequence[int]) -> str:
        decode = getattr(self._processor, "decode", None)
        if decode is None:
            return " ".join(map(str, ids))
        return str(decode([one for one in ids if one >= 0], skip_special_tokens=True))


class _Places:
    """Which rows of which batch are shown, and where in the data set they are.

    Args:
        trainer: Of the evaluation.
        dataloader: What it goes through, on this rank.
        limit: How many rows.
    """

    def __init__(self, trainer: Any, dataloader: Any, limit: int) -> None:
        self._world = max(int(getattr(trainer.args, "world_size", 1) or 1), 1)
        self._rank = int(getattr(trainer.args, "process_index", 0) or 0)
        self._is_in_order = _is_sequential(dataloader)
        self._total: int | None = None
        with contextlib.suppress(TypeError, NotImplementedError, AttributeError):
            self._total = len(dataloader.dataset)
        self._limit = limit
        self._wanted: set[int] = set()  # of the rows that this rank sees
        self._size = 0
        self._batch = 0
        self._seen = 0

    def next(self, length: int) -> list[tuple[int, int | None]]:
        """Answer the rows of the next batch: where they are in it, and in the data set."""
        if not self._size:
            self._size = max(length, 1)
            rounds = -(-(self._total or 0) // (self._size * self._world))
            count = self._limit if self._total is None else self._total
            self._wanted = set(sample_rows(min(count, rounds * self._size) or count, self._limit))
        found: list[tuple[int, int | None]] = []
        for row in range(length):
            if self._seen + row not in self._wanted:
                continue
            # Each rank has every so manieth batch.
            index = (self._batch * self._world + self._rank) * self._size + row
            if self._total is None or not self._is_in_order:
                found.append((row, None))
            elif index < self._total:  # behind the end: rows that fill up the last batch
                found.append((row, index))
        self._batch += 1
        self._seen += length
        return found


def _read(
    model: Any, config: Any, inputs: Any, answers: Any, labels: Any, rows: Any, is_generated: bool
) -> tuple[str, Any, Any, Any] | None:
    """Answer what rows of a model's answer say: task, answers, confidences, losses; None for what is not known."""
    import torch

    functional = torch.nn.functional
    if is_generated:
        return "texts", answers, None, None
    if isinstance(answers, tuple):  # where an answer begins and ends in a text
        if len(answers) != 2 or any(one.ndim != 2 for one in answers):
            return None
        places = torch.stack([one.argmax(-1) for one in answers], -1)
        losses = None
        if labels is not None and labels.shape == places.shape:
            parts = [
                functional.cross_entropy(one.float(), labels[:, at].clamp(0, one.shape[-1] - 1), reduction="none")
                for at, one in enumerate(answers)
            ]
            losses = (parts[0] + parts[1]) / 2
        return "span", places, None, losses
    if not hasattr(answers, "ndim") or answers.ndim not in (1, 2, 3) or not answers.is_floating_point():
        return None
    scores = answers.float()
    if scores.ndim == 1:
        scores = scores[:, None]
    labels = labels.to(scores.device) if labels is not None else None
    if scores.ndim == 2:
        return _classified(scores, labels, getattr(config, "problem_type", None))
    ids = labels if labels is not None else _tokens(inputs, rows)
    if ids is None or ids.ndim != 2:
        return None
    kind = type(_inner(model)).__name__ + type(model).__name__
    if "TokenClassification" in kind:
        is_next, task = False, "tags"
    else:
        is_encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
        is_next, task = not is_encoder_decoder and "MaskedLM" not in kind, "texts"
    if is_next:  # what stands at a place is said at the one before
        scores, ids = scores[:, :-1], ids[:, 1:]
    if scores.shape[1] < ids.shape[1]:
        return None
    scores = scores[:, -ids.shape[1] :] if is_next else scores[:, : ids.shape[1]]
    ids = ids.to(scores.device)
    said = torch.where(ids == _IGNORED, torch.full_like(ids, _IGNORED), scores.argmax(-1))
    losses = None
    if labels is not None:
        each = functional.cross_entropy(scores.transpose(1, 2), ids, ignore_index=_IGNORED, reduction="none")
        counted = (ids != _IGNORED).sum(-1)
        losses = each.sum(-1) / counted.clamp(min=1)
    return task, said, None, losses


def _classified(scores: Any, labels: Any, problem: str | None) -> tuple[str, Any, Any, Any] | None:
    """The same for one answer for a row: scores are (rows, classes)."""
    import torch

    functional = torch.nn.functional
    is_real = labels is not None and labels.is_floating_point()
    if problem == "multi_label_classification" or (is_real and labels.ndim == 2 and problem is None):
        if labels is not None and labels.shape == scores.shape:
            losses = functional.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none").mean(-1)
        else:
            losses = None
        if scores.shape[-1] > 1:
            return "marks", scores > 0, None, losses
    if problem == "regression" or is_real or scores.shape[-1] == 1:
        losses = None
        if labels is not None and labels.numel() == scores.numel():
            losses = (scores - labels.reshape(scores.shape).float()).square().mean(-1)
        return "numbers", scores, None, losses
    if labels is not None and labels.ndim != 1:
        return None
    chances = scores.softmax(-1)
    confidences, classes = chances.max(-1)
    losses = None
    if labels is not None:
        losses = functional.cross_entropy(scores, labels.long(), ignore_index=_IGNORED, reduction="none")
    return "classes", classes, confidences, losses


# --- a batch and its model -------------------------------------------------------------------


def _labels_of(trainer: Any, inputs: Any) -> Any:
    names = [name for name in (getattr(trainer, "label_names", None) or ()) if name in inputs]
    values = [inputs[name] for name in names]
    if len(values) == 2 and all(getattr(value, "ndim", 0) == 1 for value in values):
        import torch

        return torch.stack(values, -1)  # start and end
    return values[0] if len(values) == 1 and hasattr(values[0], "ndim") else None


def _logits(outputs: Any, answer: Any, is_plain: bool) -> Any:
    """Answer a model's scores: of all its outputs where they are known, else of what a plain trainer keeps."""
    if isinstance(outputs, Mapping):
        if outputs.get("start_logits") is not None and outputs.get("end_logits") is not None:
            return outputs["start_logits"], outputs["end_logits"]
        if outputs.get("logits") is not None:
            return outputs["logits"]
    if not is_plain:
        return None
    if isinstance(answer, (tuple, list)) and answer:
        is_span = len(answer) == 2 and all(getattr(one, "ndim", 0) == 2 for one in answer)
        return tuple(answer) if is_span else answer[0]
    return answer


def _chosen(values: Any, rows: Sequence[tuple[int, int | None]]) -> Any:
    """Answer some rows of a tensor, or of each of several, as a copy."""
    if isinstance(values, tuple):
        return tuple(_chosen(value, rows) for value in values)
    if values is None or not hasattr(values, "index_select") or values.ndim == 0:
        return None
    import torch

    places = torch.tensor([row for row, _ in rows], device=values.device)
    return values.detach().index_select(0, places)


def _shown(inputs: Any, rows: Any, task: str) -> dict[str, Any]:
    names = ("input_ids", "attention_mask", "pixel_values")
    return {name: found for name in names if name in inputs and (found := _chosen(inputs[name], rows)) is not None}


def _is_plain(trainer: Any) -> bool:
    """Answer whether a trainer's step is that of transformers: what others answer may be anything."""
    return str(getattr(type(trainer).prediction_step, "__module__", "")).startswith("transformers.")


def _has_rows(answers: Any, length: int) -> bool:
    """Answer whether there is one answer for each row of the batch."""
    parts = answers if isinstance(answers, tuple) else (answers,)
    return all(getattr(part, "ndim", 0) and part.shape[0] == length for part in parts)


def _tokens(inputs: Any, rows: Any) -> Any:
    return _chosen(inputs.get("input_ids"), rows)


def _is_tokens(answer: Any) -> bool:
    return hasattr(answer, "is_floating_point") and answer.ndim == 2 and not answer.is_floating_point()


def _length(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        for value in inputs.values():
            if getattr(value, "ndim", 0):
                return int(value.shape[0])
    return 0


def _config_of(model: Any) -> Any:
    return getattr(model, "config", None)


def _inner(model: Any) -> Any:
    """Answer the model that an adapter is put on."""
    base = getattr(model, "get_base_model", None)
    return base() if callable(base) else model


def _is_sequential(dataloader: Any) -> bool:
    """Answer whether the batches come in the order of the data set."""
    found: Any = dataloader
    for _ in range(8):  # samplers are put into one another
        inner = getattr(found, "sampler", None) or getattr(found, "batch_sampler", None)
        if inner is None or inner is found:
            break
        found = inner
    return type(found).__name__ == "SequentialSampler"


@contextlib.contextmanager
def _instead(owner: Any, **methods: Callable[..., Any]) -> Iterator[None]:
    """Have an object use other methods for a while."""
    before = {name: vars(owner).get(name) for name in methods}
    for name, method in methods.items():
        setattr(owner, name, method)
    try:
        yield
    finally:
        for name, method in methods.items():
            if vars(owner).get(name) is not method:  # somebody has put another there
                continue
            if before[name] is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before[name])


def _numbers(values: Any, count: int) -> list[float | None]:
    return [None] * count if values is None else [float(value) for value in values.tolist()]


def _picture(pixels: Any, processor: Any) -> Any:
    """Answer a picture as it was before the processor has normalised it; pixels are (channels, height, width)."""
    import torch

    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3, 4):
        return None
    values = pixels.float().cpu()
    mean, spread = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    if mean is not None and spread is not None and len(mean) == values.shape[0]:
        values = values * torch.tensor(spread)[:, None, None] + torch.tensor(mean)[:, None, None]
    else:
        low, high = values.min(), values.max()
        values = (values - low) / (high - low).clamp(min=1e-6)
    array = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return tracker.Image(array[:, :, 0] if array.shape[2] == 1 else array)
