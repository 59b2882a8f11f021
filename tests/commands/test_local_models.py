import json

import pytest

from tests.model_files import SMALL8
from tests.program import assert_fails


@pytest.fixture
def own(g3n):
    """Writes models.toml of a person."""

    def write(text):
        folder = g3n.home / "config" / "g3n"
        folder.mkdir(parents=True)
        (folder / "models.toml").write_text(text)

    return write


def read_lines(done):
    return {line["name"]: line for line in json.loads(done.stdout)}


def test_models_that_are_here_are_listed_and_with_all_the_others(g3n):
    here = read_lines(g3n.run("list", "--json"))
    assert here["g3n-mini"]["place"] == "package"
    assert "gemma-3n-e2b" not in here
    every = read_lines(g3n.run("list", "--all", "--json"))
    assert (every["gemma-3n-e2b"]["path"], every["gemma-3n-e2b"]["n_bytes"]) == (None, 3026881888)
    assert b"not here" in g3n.run("list", "-a").stdout


def test_what_other_programs_hold_is_listed_and_never_deleted(g3n):
    path = g3n.home / ".lmstudio" / "models" / "a" / "b-GGUF" / "tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(SMALL8.read_bytes())
    (path.parent / "mmproj-F16.gguf").write_bytes(b"GGUF")
    ref = "lmstudio:a/b-GGUF/tiny.gguf"
    lines = read_lines(g3n.run("list", "--json"))
    assert (lines[ref]["place"], lines[ref]["path"]) == ("lmstudio", str(path))
    assert not any("mmproj" in name for name in lines)
    assert_fails(g3n.run("rm", ref, "--yes"), 3, "belongs to lmstudio")
    assert_fails(g3n.run("rm", path, "--yes"), 3, "not fetched by g3n pull")
    assert path.exists()
    assert g3n.run("verify", ref).returncode == 0


def test_a_models_own_settings_count_where_no_flag_says_other(g3n, own):
    own(f'[mine]\npath = "{SMALL8}"\n[mine.defaults]\nctx = 512\nkv = "f32"\n')
    estimate = json.loads(g3n.run("estimate", "mine", "--json").stdout)
    assert (estimate["ctx"], estimate["kv"]) == (512, "f32")
    given = json.loads(g3n.run("estimate", "mine", "--ctx", "256", "--json").stdout)
    assert (given["ctx"], given["kv"]) == (256, "f32")
    variable = json.loads(g3n.run("estimate", "mine", "--json", G3N_KV="f16").stdout)
    assert (variable["ctx"], variable["kv"]) == (512, "f16")
    assert g3n.run("chat", "-m", "mine", "-n", "1", "hi").returncode == 0


def test_a_template_of_ones_own_is_used(g3n, own):
    own(f'[mine]\npath = "{SMALL8}"\ntemplate = "mine.jinja"\n')
    (g3n.home / "config" / "g3n" / "mine.jinja").write_text("{{ nothing.at.all }}")
    assert_fails(g3n.run("chat", "-m", "mine", "hi"), 3, "the model's chat template fails")


def test_an_estimate_adds_up(g3n):
    found = json.loads(g3n.run("estimate", "g3n-mini", "--json").stdout)
    assert sum(found["memory"].values()) == found["memory_bytes"]
    assert found["fits"]
    assert b"It fits." in g3n.run("estimate", "g3n-mini").stdout


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--device", "http://h/v1"), "estimates are of the CPU's memory"),
        (("--size", "auto"), "follows the free"),
    ],
)
def test_what_cannot_be_estimated_is_said(g3n, flags, part):
    assert_fails(g3n.run("estimate", "g3n-mini", *flags), 2, part)


def test_a_broken_table_is_told_by_every_command_with_file_and_key(g3n, own):
    own("[mine]\npath = 3\n")
    for words in (("list",), ("chat", "hi"), ("estimate", "g3n-mini")):
        assert_fails(g3n.run(*words), 2, "models.toml: [mine] path: must be a text")


def complete(g3n, words):
    count = len(words.split()) - (0 if words.endswith(" ") else 1)
    flags = {"COMP_WORDS": words, "COMP_CWORD": str(count), "_G3N_COMPLETE": "complete_bash"}
    return g3n.run(**flags).stdout.decode().split()


def test_a_shell_completes_models_sizes_devices(g3n, own):
    own(f'[mine]\npath = "{SMALL8}"\n')
    assert complete(g3n, "g3n chat -m mi") == ["mine"]
    assert complete(g3n, "g3n pull gemma-3n-e2b-q4") == ["gemma-3n-e2b-q4_0"]
    assert complete(g3n, "g3n chat -m gemma-3n-e4b --size e3.1") == ["e3.18b"]
    assert complete(g3n, "g3n chat -m gemma-3n-e2b --size e") == ["e2b"]
    assert complete(g3n, "g3n chat --device c") == ["cpu"]
    assert complete(g3n, "g3n bench --device cpu,r") == ["cpu,rpc:"]
    assert complete(g3n, "g3n bench --size full,e2.5") == ["full,e2.54b"]
    assert complete(g3n, "g3n bench --kv f16,q") == ["f16,q8_0", "f16,q4_0"]
    assert complete(g3n, "g3n bench --ple ") == ["disk", "ram"]
    assert complete(g3n, "g3n bench --prefill skip,") == ["skip,skip", "skip,full"]
    assert complete(g3n, "g3n bench --kernels own,gg") == ["own,ggml"]
    assert complete(g3n, "g3n bench --media none,a") == ["none,audio"]
    assert complete(g3n, "g3n bench --synthetic e4") == ["e4b"]
    assert complete(g3n, "g3n show g3n") == ["g3n-mini"]


def test_completing_with_a_broken_table_offers_nothing_and_says_nothing(g3n, own):
    own("[mine]\npath = 3\n")
    assert complete(g3n, "g3n chat -m m") == []


def test_the_digest_of_the_bundled_model_is_known(g3n):
    assert json.loads(g3n.run("verify", "g3n-mini", "--json").stdout)["is_known"]
