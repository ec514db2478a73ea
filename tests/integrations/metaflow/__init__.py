import pytest

pytest.importorskip("metaflow")
