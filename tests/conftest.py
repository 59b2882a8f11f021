import pytest

from tests.program import Program


@pytest.fixture
def g3n(tmp_path):
    return Program(tmp_path)
