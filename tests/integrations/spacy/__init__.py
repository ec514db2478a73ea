import pytest

pytest.importorskip("spacy")
