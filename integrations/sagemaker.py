"""Amazon SageMaker: the hyperparameters that a training job was given; its name is that of the run without a word."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

HYPERPARAMETERS = "/opt/ml/input/config/hyperparameters.json"


def hyperparameters(path: str | os.PathLike[str] = HYPERPARAMETERS) -> dict[str, Any]:
    """Answer the job's hyperparameters, for `tracker.init(config=hyperparameters())`; nothing outside of a job.

    Args:
        path: Where SageMaker puts them: each value is a text, of JSON where the job was started by its SDK.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): _value(text) for name, text in found.items() if not str(name).startswith("sagemaker_")}


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
