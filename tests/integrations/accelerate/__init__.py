import pytest

pytest.importorskip("accelerate")
