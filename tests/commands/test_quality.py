import json

import pytest

from tests.oracle import find_case
from tests.program import assert_fails

PATH = find_case("mat12", "q8_0").path
COUNTS = ("--context", 24, "--measured", 8)


def test_settings_are_compared_with_the_reference(g3n):
    varied = ("size=full", "size=128*12", "kv=q4_0 prefill-size=128*12")
    flags = [word for text in varied for word in ("--vary", text)]
    done = g3n.run("quality", PATH, *COUNTS, *flags, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    assert list(found) == ["reference", *varied]
    assert found["size=full"] == found["reference"]
    assert found["reference"]["kl_divergence"] == 0
    assert all(found[text]["kl_divergence"] > 0 for text in varied[1:])


def test_files_and_activations_are_compared_too(g3n):
    path, coarse = find_case("kquant3", "q4_0").path, g3n.home / "coarse.gguf"
    made = g3n.run("slice", path, "--size", "full", "--ple-type", "q4_0", "-o", coarse)
    assert (made.returncode, made.stderr) == (0, b"")
    varied = ("act=f32", "act=q4", f"model={coarse}")
    flags = [word for text in varied for word in ("--vary", text)]
    found = json.loads(g3n.run("quality", path, *COUNTS, *flags, "--json").stdout)
    f32, q4, ple = (found[text]["kl_divergence"] for text in varied)
    assert 0 < f32 < q4
    assert ple > 0


@pytest.mark.model
def test_models_with_other_vocabularies_are_not_compared(g3n):
    done = g3n.run("quality", PATH, *COUNTS, "--vary", "model=smollm2")
    assert_fails(done, 4, "the reference")


def test_the_table_has_a_line_for_each_setting(g3n):
    done = g3n.run("quality", PATH, *COUNTS, "--vary", "size=128*12")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["reference", "size=128*12"]


@pytest.mark.parametrize(
    ("vary", "code", "part"),
    [
        ("colour=red", 2, "no setting"),
        ("size", 2, "no setting"),
        ("", 2, "--vary is empty"),
        ("size=huge", 2, "no size is called"),
        ("kv=q9", 2, "kv"),
    ],
)
def test_settings_that_cannot_be_are_refused(g3n, vary, code, part):
    assert_fails(g3n.run("quality", PATH, *COUNTS, "--vary", vary), code, part)


def test_a_text_that_is_too_short_is_refused(g3n):
    text = g3n.home / "short.txt"
    text.write_text("too short")
    assert_fails(g3n.run("quality", PATH, "--vary", "size=full", "-f", text), 4, "tokens")
