import pytest

pytest.importorskip("composer", exc_type=ImportError)
