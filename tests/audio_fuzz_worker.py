"""Opens the projector files named on stdin, encodes a moment of sound and says how each went.

As ``fuzz_worker.py``: a subprocess, because what it looks for is C code that aborts.
"""

import sys
import traceback
from pathlib import Path

import numpy as np

from g3n_cli.engine.encoders.audio import open_audio_encoder
from g3n_cli.errors import G3nError


def use(path: Path) -> None:
    encoder = open_audio_encoder(path, 1)
    try:
        encoder.encode(np.sin(np.arange(4000, dtype=np.float32)))
    finally:
        encoder.close()


def main() -> None:
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
