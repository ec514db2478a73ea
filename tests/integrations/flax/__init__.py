import pytest

pytest.importorskip("flax")
