import pytest

pytest.importorskip("ray.tune")
