"""Fixtures of the console's tests."""

import pytest

from tests.console.site import ConsoleSite


@pytest.fixture
def site(tmp_path):
    made = ConsoleSite(tmp_path)
    yield made
    made.close()
