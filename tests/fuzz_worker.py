"""Opens the files named on stdin the way the program does, and says how each went.

A subprocess, because what it looks for is C code that aborts. Its argument says what the files are:
``model`` or ``audio``, a projector with an audio encoder. One path a line; the answer is "ok",
"refused: ..." or the traceback of an error that is none of ours, in one line.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import numpy as np

from g3n_cli.config import EngineSettings
from g3n_cli.engine.encoders.audio import open_audio_encoder
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from g3n_cli.errors import G3nError

_SETTINGS = EngineSettings(n_ctx=32, n_batch=8, n_threads=1)


def use_model(path: Path) -> None:
    """Everything up to the first logits."""
    engine = open_engine(path, "mutant", _SETTINGS)
    try:
        ids = engine.tokenizer.encode("hello \u00e9\n<|im_start|>", add_bos=True)
        for token in ids:
            engine.tokenizer.piece(token, special=True)
        engine.prefill(Prompt.of_ids([0]))
    finally:
        engine.close()


def use_audio(path: Path) -> None:
    """A moment of sound."""
    encoder = open_audio_encoder(path, 1)
    try:
        encoder.encode(np.sin(np.arange(4000, dtype=np.float32)))
    finally:
        encoder.close()


USES = {"model": use_model, "audio": use_audio}


def main() -> None:
    use = USES[sys.argv[1]]
    np.seterr(all="ignore")  # weights of a mutant may be NaN
    for line in sys.stdin:
        try:
            use(Path(line.rstrip("\n")))
            answer = "ok"
        except G3nError as error:
            answer = f"refused: {error.message}"
        except Exception:  # noqa: BLE001 - whatever it is, it goes back to the test
            answer = traceback.format_exc()
        sys.stdout.write(answer.replace("\n", "\\n") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
