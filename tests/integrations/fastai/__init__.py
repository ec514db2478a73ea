import pytest

pytest.importorskip("fastai")
