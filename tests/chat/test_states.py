"""K/V of conversations and system texts on disk: what is kept, and what makes room."""

import os
from contextlib import closing

import pytest

from g3n_cli.chat.states import StateFolder
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from tests.fakes import make_engine
from tests.model_files import SMALL8

TEXT = [7] * 300


def compute(*ids):
    """An engine that has read these tokens; each takes some bytes in a file."""
    engine = make_engine("x")
    engine.prefill(Prompt.of_ids(ids))
    return engine


N_BYTES = len(str(TEXT))
"""Of a file of the fake engine with as many tokens."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kv"


def age(path, *names):
    """Give files times of use, the first the longest ago."""
    for i, name in enumerate(names):
        os.utime(path / name, (1000 + i, 1000 + i))


def list_names(path):
    return sorted(file.name for file in path.iterdir())


def count_bytes(path):
    return sum(file.stat().st_size for file in path.iterdir())


def test_those_not_used_for_longest_make_room(path):
    states = StateFolder(path, 3 * N_BYTES)
    for session in (1, 2, 3):
        states.keep(compute(*TEXT), session)
    age(path, "2.npz", "3.npz", "1.npz")
    states.keep(compute(*TEXT), 4)
    assert list_names(path) == ["1.npz", "3.npz", "4.npz"]
    states.keep(compute(*TEXT), 3)
    states.keep(compute(*TEXT), 5)
    assert list_names(path) == ["3.npz", "4.npz", "5.npz"]


def test_a_system_text_that_is_used_outlives_conversations(path):
    states = StateFolder(path, 3 * N_BYTES)
    states.keep_beginning(compute(*TEXT), TEXT)
    (beginning,) = list_names(path)
    states.keep(compute(*TEXT), 1)
    for session in range(2, 5):
        age(path, beginning, f"{session - 1}.npz")
        if session % 2:
            assert states.restore_beginning(make_engine("x"), TEXT)
        states.keep(compute(*TEXT), session, TEXT)
    assert list_names(path) == ["3.npz", "4.npz", beginning]


def test_what_was_just_written_stays_whatever_the_clock_says(path):
    states = StateFolder(path, 2 * N_BYTES)
    for session in (1, 2):
        states.keep(compute(*TEXT), session)
        os.utime(path / f"{session}.npz", (2**33, 2**33))
    states.keep(compute(*TEXT), 3)
    assert "3.npz" in list_names(path)
    assert count_bytes(path) <= 2 * N_BYTES


def test_what_alone_takes_more_is_not_kept(path):
    states = StateFolder(path, 2 * N_BYTES)
    states.keep_beginning(compute(*TEXT), TEXT)
    (beginning,) = list_names(path)
    states.keep(compute(*TEXT * 2), 1, TEXT)
    assert list_names(path) == [beginning]


def test_nothing_is_kept_where_nothing_may_be(path):
    StateFolder(path, 0).keep(compute(*TEXT), 1)
    assert not path.exists()
    StateFolder(path).keep(compute(*TEXT), 1)
    StateFolder(path, 0).keep(compute(*TEXT), 2)
    assert list_names(path) == []


def test_what_killed_processes_left_goes_with_conversations(path):
    states = StateFolder(path)
    states.keep(compute(*TEXT), 1)
    (path / f"2.npz.{2**22 + 1}.part").write_bytes(b"secret")
    (path / f"3.npz.{os.getpid()}.part").write_bytes(b"still being written")
    states.remove([1])
    assert list_names(path) == [f"3.npz.{os.getpid()}.part"]


@pytest.fixture
def engine():
    with closing(open_engine(SMALL8, "small8", EngineSettings(n_ctx=1024))) as engine:
        yield engine


def converse(engine, states, session, text, *more):
    """Read a system text, from disk if it is there, and something after it."""
    if not states.restore_beginning(engine, text):
        engine.trim(0)
        engine.prefill(Prompt.of_ids(text))
        states.keep_beginning(engine, text)
    engine.prefill(Prompt.of_ids([*text, *more]))
    states.keep(engine, session, text)


def test_system_texts_stay_while_a_conversation_has_them(path, engine):
    states, other = StateFolder(path), [8] * 300
    converse(engine, states, 1, TEXT, 1, 2)
    (beginning,) = set(list_names(path)) - {"1.npz"}
    converse(engine, states, 2, TEXT, 3, 4)
    converse(engine, states, 3, other, 5, 6)
    states.remove([3])
    assert list_names(path) == sorted(["1.npz", "2.npz", beginning])
    states.remove([1])
    assert states.restore(engine, 2) == (302, "302 tokens from disk")
    states.remove([2])
    assert list_names(path) == []


def test_a_conversation_whose_system_text_made_room_is_read_again(path, engine):
    states = StateFolder(path)
    converse(engine, states, 1, TEXT, 1, 2)
    (beginning,) = set(list_names(path)) - {"1.npz"}
    (path / beginning).unlink()
    n, told = states.restore(engine, 1)
    assert (n, told) == (0, "it is read again: what it begins with is not kept any more")
    converse(engine, states, 2, TEXT, 3, 4)
    assert states.restore(engine, 1)[0] == 302


def test_a_conversation_takes_little_beside_its_system_text(path, engine):
    states = StateFolder(path)
    converse(engine, states, 1, TEXT, 1, 2)
    (beginning,) = set(list_names(path)) - {"1.npz"}
    assert (path / "1.npz").stat().st_size * 5 < (path / beginning).stat().st_size
