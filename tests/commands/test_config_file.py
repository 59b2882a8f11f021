from pathlib import Path

import pytest

from g3n_cli.commands.bench import bench
from g3n_cli.commands.chat import chat
from g3n_cli.commands.config_file import find_config_path, load_defaults
from g3n_cli.errors import UsageError


def load(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_defaults(path, {"chat": chat})


def test_keys_are_the_flags_of_a_command(tmp_path):
    text = '[chat]\nmodel = "m"\ntop-k = 3\ntemp = 1\nstop = ["a"]\nkv = "q8_0"\nrepack = false\n'
    assert load(tmp_path, text) == {
        "chat": {"model": "m", "top_k": 3, "temp": 1, "stop": ["a"], "kv": "q8_0", "repack": False}
    }


def test_a_group_of_commands_has_a_table_of_its_own_flags(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[bench]\nn-prompt = "5"\ncold = true\nmodel = ["a", "b"]\n')
    found = load_defaults(path, {"bench": bench})
    assert found == {"bench": {"n_prompt": "5", "cold": True, "model": ["a", "b"]}}
    path.write_text("[bench]\ncontext = 1")
    with pytest.raises(UsageError, match="context"):
        load_defaults(path, {"bench": bench})


def test_an_empty_file_sets_nothing(tmp_path):
    assert load(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[chat]\nheat = 1", "heat"),
        ("[chat]\nprompt = 'x'", "prompt"),
        ("[tchat]", "tchat"),
        ("chat = 1", "chat"),
        ("temp = 1", "temp"),
        ("[chat]\nctx = 1.5", "ctx .* whole number"),
        ("[chat]\nctx = true", "ctx"),
        ("[chat]\nrepack = 1", "repack .* true or false"),
        ("[chat]\nmodel = 3", "model .* text"),
        ("[chat]\nstop = ['a', 1]", "stop .* list of texts"),
        ("[chat]\nkv = 'f8'", "kv .* one of f32"),
        ("[chat", "not TOML"),
    ],
)
def test_what_means_nothing_is_refused_by_file_and_key(tmp_path, text, words):
    with pytest.raises(UsageError, match=words) as caught:
        load(tmp_path, text)
    assert "config.toml" in caught.value.message


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        load_defaults(tmp_path / "none.toml", {})


def test_the_environment_chooses_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("G3N_CONFIG", raising=False)
    assert find_config_path() is None
    (tmp_path / "g3n").mkdir()
    (tmp_path / "g3n" / "config.toml").touch()
    assert find_config_path() == tmp_path / "g3n" / "config.toml"
    monkeypatch.setenv("G3N_CONFIG", "other.toml")
    assert find_config_path() == Path("other.toml")
