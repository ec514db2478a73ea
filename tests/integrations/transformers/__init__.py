"""transformers, with TRL, PEFT, datasets and sentence-transformers on top of it."""

import pytest

pytest.importorskip("transformers")
