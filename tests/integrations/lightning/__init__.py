import pytest

pytest.importorskip("lightning")
