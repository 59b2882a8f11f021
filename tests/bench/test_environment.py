import json

import psutil

from g3n_cli.bench.case import BenchModel
from g3n_cli.bench.environment import describe_environment, hash_model
from tests.model_files import SMALL8


def test_machine_program_and_models_are_described(tmp_path):
    (governor := tmp_path / "devices/system/cpu/cpu0/cpufreq").mkdir(parents=True)
    (governor / "scaling_governor").write_text("powersave\n")
    found = describe_environment([BenchModel("small", SMALL8)], tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert found["ggml"].startswith("0.")
    assert found["governor"] == "powersave"
    assert "CPU" in found["ggml_features"]
    assert found["models"]["small"] == {
        "file": SMALL8.name,
        "bytes": SMALL8.stat().st_size,
        "sampled_sha256": hash_model(SMALL8),
    }


def test_no_path_of_the_machine_is_recorded(tmp_path):
    text = json.dumps(describe_environment([BenchModel("small", SMALL8)], tmp_path))
    assert str(SMALL8.parent) not in text
    assert json.loads(text)["governor"] is None


def test_a_digest_sees_header_blocks_end_and_size(tmp_path):
    path = tmp_path / "model.gguf"
    content = bytearray(3_000_000)

    def digest(at=None, extra=b""):
        changed = bytearray(content)
        if at is not None:
            changed[at] ^= 1
        path.write_bytes(changed + extra)
        return hash_model(path)

    found = {digest(), digest(0), digest(-1), digest(200_000), digest(extra=b"\0")}
    assert len(found) == 5
    assert digest() == digest()


def test_a_small_file_is_hashed_whole(tmp_path):
    path = tmp_path / "model.gguf"
    digests = set()
    for content in (b"", b"a" * 1000, b"a" * 500 + b"b" + b"a" * 499):
        path.write_bytes(content)
        digests.add(hash_model(path))
    assert len(digests) == 3
