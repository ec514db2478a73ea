import pytest

pytest.importorskip("playwright.sync_api", reason="the browser tests drive Chromium through playwright")
