"""What a platform says of the job that this process works for: who its runs are, unless the user says so.

A job that the platform stops and starts again bears its name throughout, and so do its runs: they are gone on with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from .ranks import rank

SOURCE = "SageMaker"
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")

_begun = 0  # runs of this process that were named so; the same ones in the same order after a restart


def defaults(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Answer the id, name and group of the next run; nothing where no platform is known.

    Args:
        environment: The variables of the process.
    """
    job = environment.get("TRAINING_JOB_NAME")
    host = environment.get("SM_CURRENT_HOST")
    if not job or not host:  # SageMaker sets both, in each of a job's containers
        return {}
    parts = [_SAFE.sub("-", job)]
    if host != "algo-1":
        parts.append(_SAFE.sub("-", host))
    if number := rank():
        parts.append(f"rank{number}")
    if _begun:
        parts.append(str(_begun + 1))
    name = "-".join(parts)
    return {"run_id": name, "name": name, "group": parts[0]}


def begin() -> None:
    """Count a run that was named so."""
    global _begun
    _begun += 1
