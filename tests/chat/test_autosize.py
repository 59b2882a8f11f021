import pytest

from g3n_cli.chat.autosize import SHORT_BYTES, AutoSize, measure_decode_tps
from g3n_cli.config import EngineSettings, NamedSize
from g3n_cli.engine.open import open_engine
from tests.engine.scripted import FakeEngine
from tests.oracle import find_case

HALF = NamedSize("half", (), 12, 256, (128,) * 12)
EIGHTH = NamedSize("eighth", (), 12, 256, (32,) * 12)
PATH = find_case("mat12", "q8_0").path


@pytest.fixture
def engine():
    settings = EngineSettings(n_ctx=64, size="auto", named_sizes=(EIGHTH, HALF))
    opened = open_engine(PATH, "tiny", settings)
    yield opened
    opened.close()


def test_where_there_is_room_the_whole_model_is_taken(engine):
    assert engine.info.size == "full"
    assert [size.name for size in engine.sizes] == ["full", "half", "eighth"]
    assert AutoSize(engine).choose() == "size full"


def test_sizes_are_measured_until_one_is_fast_enough(engine):
    speed = measure_decode_tps(engine)
    assert speed > 0
    assert engine.n_past == 0
    assert AutoSize(engine, speed / 1000).choose().startswith("size full; full decodes")
    said = AutoSize(engine, 1e9).choose()
    assert said.startswith("size eighth")
    assert [name in said for name in ("full decodes", "half decodes", "eighth decodes")] == [
        True
    ] * 3
    assert engine.n_past == 0


def test_short_memory_takes_one_size_less_at_a_time():
    engine, free = FakeEngine("a"), [SHORT_BYTES]
    auto = AutoSize(engine, read_free=lambda: free[0])
    assert auto.check() is None
    free[0] -= 1
    assert "going on as small" in auto.check()
    assert engine.info.size == "small"
    assert auto.check() is None, "there is no smaller one"
