"""A chat with a scripted model in this process's terminal; in the end, what was said as JSON."""

import json
import sys
import time

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.ui.repl import Repl
from g3n_cli.ui.terminal import Terminal
from tests.fakes import make_engine

ANSWERS = ["First **answer**.", "Second. " + "More words. " * 500, "Third."]


def main():
    engine = make_engine(*ANSWERS, n_ctx=16384)
    decode = engine.decode

    def decode_at_leisure(token):
        time.sleep(0.002)
        return decode(token)

    engine.decode = decode_at_leisure
    session = Session(engine, AnswerOptions(seed=1, temp=0))
    code = 0
    try:
        Repl(session, Terminal.of_process(), show_stats=False).run()
    except KeyboardInterrupt:
        code = 130
    turns = [[turn.user, turn.text] for turn in session.turns]
    sys.stdout.write(f"TURNS {json.dumps(turns)}\n")
    sys.exit(code)


main()
