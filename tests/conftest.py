import pytest

from tests.program import Program


@pytest.fixture
def g3n(tmp_path):
    return Program(tmp_path)


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """What a test saves, it does not save where the person who runs it saves."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
