import pytest

pytest.importorskip("pytorch_lightning")
