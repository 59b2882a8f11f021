import os
import subprocess
import sys
import time

import pytest

from g3n_cli.bench.synthetic import make_model
from g3n_cli.bench.synthetic_vision import ENCODERS, make_vision_mmproj
from tests.model_files import find_smollm2
from tests.program import Program


@pytest.fixture
def g3n(tmp_path):
    return Program(tmp_path)


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """What a test saves, it does not save where the person who runs it saves."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def media_model(tmp_path_factory):
    """A tiny Gemma 3n of random weights with both encoders beside it."""
    folder = tmp_path_factory.mktemp("media_model")
    vision, audio = ENCODERS["tiny"]
    make_vision_mmproj(folder / "mmproj-tiny.gguf", "f16", vision, audio=audio)
    make_model("tiny", "q4_0", folder / "tiny.gguf")
    return folder / "tiny.gguf"


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory):
    """llama-cpp-python's own server with SmolLM2."""
    log = (tmp_path_factory.mktemp("server") / "log").open("w+")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "llama_cpp.server", "--model", str(find_smollm2())),
            *("--model_alias", "smol", "--host", "127.0.0.1", "--port", "0", "--n_ctx", "512"),
        ],
        stdout=log,
        stderr=log,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield f"http://127.0.0.1:{wait_for_port(process, log.name)}/v1"
    finally:
        process.terminate()
        process.wait()
        log.close()


def wait_for_port(process, log):
    """The port it has chosen, once it listens."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with open(log, errors="replace") as file:
            _, found, rest = file.read().partition("running on http://127.0.0.1:")
        if found:
            return int(rest.split()[0])
        time.sleep(0.2)
    raise AssertionError("the server does not start")
