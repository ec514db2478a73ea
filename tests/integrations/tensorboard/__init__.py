import pytest

pytest.importorskip("tensorboard")
