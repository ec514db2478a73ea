import os
from importlib.util import find_spec

import pytest

# One process has one backend; `test_backends.py` runs these tests on the others.
os.environ.setdefault(
    "KERAS_BACKEND", "jax" if find_spec("jax") else "tensorflow" if find_spec("tensorflow") else "torch"
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

pytest.importorskip("keras")
