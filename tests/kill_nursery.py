"""Kills processes at random moments and looks at what they leave: run by ``test_kills.py``.

Its children are forked, so that hundreds of them take seconds. What it was told to do goes wrong
with an assertion; else it says in one line how much was done.
"""

import hashlib
import os
import random
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from g3n_cli.chat.conversation import Turn
from g3n_cli.chat.states import StateFolder
from g3n_cli.chat.store import SessionStore
from g3n_cli.engine.prompt import count_common
from g3n_cli.engine.snapshot import State, read_state, write_state
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.registry import store as model_store
from g3n_cli.registry.download import fetch
from g3n_cli.registry.hub import Patience, Remote
from g3n_cli.registry.table import HubFile

STATS = GenerationStats(5, 0, 3, 0.1, 50.0, 20.0, "end")
N_PIECES = 5
N_BLOCKS = 16
"""In which a file comes, about."""


def kill_in_the_midst(work, most_lines):
    """Run ``work(tell)`` in a child and kill it some time after it has told some lines; all lines.

    How much it does before that depends on what it tells, not on how fast the machine is.
    """
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            work(lambda line: os.write(theirs, f"{line}\n".encode()))
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    told, wanted = b"", random.randint(0, most_lines)
    while told.count(b"\n") < wanted and (block := os.read(ours, 4096)):
        told += block
    time.sleep(random.uniform(0, 0.003))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    with open(ours, "rb") as rest:
        return (told + rest.read()).decode().split("\n")[:-1]


def save(folder, n_kills):
    """One conversation after the other; whatever was told to be saved is there after the kill."""
    database, state = folder / "chats.db", folder / "1.npz"
    known, n_states = {}, 0

    def work(tell):
        with closing(SessionStore(database)) as chats:
            session = chats.begin("model", "")
            tell(f"session {session}")
            for position in range(1000):
                turn = chats.add_turn(session, position, f"question {position}", "model")
                for i in range(N_PIECES):
                    chats.add_piece(turn, f"{position}.{i} ")
                    tell(f"{position}.{i}")
                text = "".join(f"{position}.{i} " for i in range(N_PIECES))
                chats.end_turn(turn, Turn(f"question {position}", text, (1, 2), STATS))
                rows = {"k": np.full((100, 64), position % 256, np.uint8)}
                write_state(state, "model", State((position,) * 100, ((8,),) * 100, 100, rows))
                tell(f"state {position}")

    for _ in range(n_kills):
        told = kill_in_the_midst(work, 60)
        with closing(SessionStore(database)) as chats:
            assert chats.notice == ""
            if told:
                session = told[0].split()[1]
                pieces = [line for line in told[1:] if not line.startswith("state")]
                said = " ".join(turn.text for turn in chats.load(session).turns).split()
                assert said[: len(pieces)] == pieces
                assert len(said) <= len(pieces) + 1
                known[session] = said
            if state.exists():
                kept = read_state(state, "model")
                assert (kept.rows["k"] == kept.keys[0] % 256).all()
                n_states += 1
    with closing(SessionStore(database)) as chats:
        for session, said in known.items():
            assert " ".join(turn.text for turn in chats.load(session).turns).split() == said
    assert n_states > n_kills // 2
    return sum(map(len, known.values()))


class RowsEngine:
    """An engine whose K/V tells which tokens it is of."""

    state_identity = "model"

    def __init__(self, *keys):
        self.keys = keys

    @property
    def n_past(self):
        return len(self.keys)

    def save_state(self, path, beginning=None):
        n = len(self.keys)
        state = State(self.keys, ((8,),) * n, n, {"k": self._compute()})
        return write_state(path, self.state_identity, state, beginning)

    def load_state(self, path):
        state = read_state(path, self.state_identity)
        self.keys = state.keys
        assert (state.rows["k"] == self._compute()).all()
        return self.n_past

    def count_computed(self, prompt):
        return count_common(self.keys, prompt.keys)

    def _compute(self):
        return np.repeat(np.array(self.keys, np.uint8)[:, None], 64, axis=1)


def find_text(session):
    """One of three system texts."""
    return (session % 3,) * 300


def share(folder, n_kills):
    """Conversations with system texts in common, for which there is little room."""
    most_bytes, n_found = 70_000, 0
    states = StateFolder(folder, most_bytes)

    def converse(session):
        engine, text = RowsEngine(), find_text(session)
        if not states.restore_beginning(engine, text):
            states.keep_beginning(RowsEngine(*text), text)
        states.keep(RowsEngine(*text, *[session % 256] * 10), session, text)

    def work(tell):
        for session in range(1000):
            converse(random.randint(1, 30))
            tell(session)

    for _ in range(n_kills):
        kill_in_the_midst(work, 20)
        for session in range(1, 31):
            engine = RowsEngine()
            n, told = states.restore(engine, session)
            assert "damaged" not in told
            assert engine.keys in ((), (*find_text(session), *[session] * 10))
            n_found += n > 0
        converse(random.randint(1, 30))
        assert sum(file.stat().st_size for file in folder.iterdir()) <= most_bytes
    return n_found


def pull(folder, n_kills, url, sha256, n_bytes):
    """The same file again and again; it is there in whole or not at all."""
    target = folder / "model.gguf"
    file = HubFile("owner/name", "model.gguf")
    remote = Remote(file, url, "main", n_bytes, sha256)
    n_whole, most_kept = 0, 0

    def work(tell):
        fetch(remote, target, lambda done, _total: tell(done), Patience(2, 5.0))

    for _ in range(n_kills):
        kill_in_the_midst(work, N_BLOCKS * 2)
        most_kept = max(
            [most_kept, *(part.stat().st_size for part in model_store.find_parts(target))]
        )
        if target.exists():
            assert model_store.read_record(target).sha256 == sha256
            assert hash_file(target) == sha256
            model_store.remove(target)
            n_whole += 1
    fetch(remote, target, lambda *_: None, Patience(2, 5.0))
    assert hash_file(target) == sha256
    assert most_kept > 0
    return n_whole


def hash_file(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(kind, folder, n_kills, *rest):
    random.seed(8)
    done = {"save": save, "share": share, "pull": pull}[kind]
    if kind == "pull":
        from huggingface_hub import get_session  # noqa: F401  imported once, not in each child

        rest = (rest[0], rest[1], int(rest[2]))
    print(done(Path(folder), int(n_kills), *rest))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
