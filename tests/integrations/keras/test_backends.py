"""The same tests on the other backends: a process has one."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

BACKENDS = ("tensorflow", "jax", "torch")
LIMIT_SECONDS = 900


@pytest.mark.skipif("KERAS_TESTS_INNER" in os.environ, reason="this is the other backend")
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != keras.backend.backend()])
def test_all_of_it_holds_on_another_backend(backend: str) -> None:
    """8.1 #25, wandb#8525: breaks with Keras 3, or with a backend."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).parent)],
        env={**os.environ, "KERAS_BACKEND": backend, "KERAS_TESTS_INNER": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
