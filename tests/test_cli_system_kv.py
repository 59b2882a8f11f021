"""A long system text is computed once for all conversations, and kept on disk."""

import json
import shutil

import pytest

from tests.model_files import SMALL8, find_smollm2

RULES = "answer one two three four five. " * 60
ASK = ("chat", "-m", SMALL8, "-n", "4", "--temp", "0", "--ctx", "4096")


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_text(RULES)
    return path


def ask(g3n, rules, question, *flags, **changes):
    run = g3n.run(*ASK, "--system", rules.read_text(), "--json", *flags, question, **changes)
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout), run.stderr.decode()


def find_kept(g3n):
    return list((g3n.home / "data" / "g3n" / "kv").glob("system-*"))


def test_the_second_question_finds_the_system_text_on_disk(g3n, rules):
    first, _ = ask(g3n, rules, "one")
    assert (first["reused_tokens"], first["disk_tokens"]) == (0, 0)
    (file,) = find_kept(g3n)
    assert file.stat().st_mode & 0o777 == 0o600
    second, _ = ask(g3n, rules, "seven")
    assert second["disk_tokens"] == second["reused_tokens"]
    assert 256 <= second["disk_tokens"] < second["prompt_tokens"]
    shown = g3n.run(*ASK, "--system", rules.read_text(), "--stats", "one").stderr.decode()
    assert f"({second['disk_tokens']:,} reused, {second['disk_tokens']:,} from disk)" in shown
    assert find_kept(g3n) == [file]


def test_answers_are_those_of_a_prompt_computed_afresh(g3n, rules):
    ask(g3n, rules, "one")
    for question in ("one", "seven", "a longer question", "."):
        kept, _ = ask(g3n, rules, question, "-n", "12")
        fresh, _ = ask(g3n, rules, question, "-n", "12", "--no-save")
        assert kept["disk_tokens"] > 0
        assert not fresh["disk_tokens"]
        assert (kept["text"], kept["prompt_tokens"]) == (fresh["text"], fresh["prompt_tokens"])


def test_nothing_is_kept_or_read_with_no_save(g3n, rules):
    ask(g3n, rules, "one", "--no-save")
    assert find_kept(g3n) == []
    ask(g3n, rules, "one")
    assert not ask(g3n, rules, "one", G3N_NO_SAVE="1")[0]["disk_tokens"]


def test_short_system_texts_are_not_kept(g3n, rules):
    rules.write_text("Be brief.")
    ask(g3n, rules, "one")
    assert find_kept(g3n) == []


@pytest.mark.parametrize("flags", [("--kv", "f32"), ("--batch", "64"), ("--choice", "one,two")])
def test_only_what_the_tokens_depend_on_must_be_the_same(g3n, rules, flags):
    ask(g3n, rules, "one")
    told, notes = ask(g3n, rules, "seven", *flags)
    assert (told["disk_tokens"] > 0) == (flags[0] != "--kv")
    assert len(find_kept(g3n)) == (2 if flags[0] == "--kv" else 1)
    assert "warning" not in notes


def test_another_system_text_has_a_file_of_its_own(g3n, rules):
    ask(g3n, rules, "one")
    rules.write_text(RULES.replace("four", "six"))
    assert ask(g3n, rules, "one")[0]["disk_tokens"] == 0
    assert len(find_kept(g3n)) == 2


def test_a_damaged_file_is_told_and_made_anew(g3n, rules):
    fresh, _ = ask(g3n, rules, "one")
    (file,) = find_kept(g3n)
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", bytes(len(whole))):
        file.write_bytes(broken)
        told, notes = ask(g3n, rules, "one")
        assert "warning: the system text is read again" in notes
        assert (told["text"], told["disk_tokens"]) == (fresh["text"], 0)
        assert ask(g3n, rules, "one")[0]["disk_tokens"] > 0


def test_a_file_of_another_text_is_told_and_made_anew(g3n, rules):
    fresh, _ = ask(g3n, rules, "one")
    (file,) = find_kept(g3n)
    rules.write_text(RULES.replace("four", "six"))
    ask(g3n, rules, "one")
    (other,) = set(find_kept(g3n)) - {file}
    shutil.copy(other, file)
    rules.write_text(RULES)
    told, notes = ask(g3n, rules, "one")
    assert "holds something else" in notes
    assert (told["text"], told["disk_tokens"]) == (fresh["text"], 0)


def test_a_conversation_goes_on_with_the_system_text_and_what_follows_from_disk(g3n, rules):
    first, _ = ask(g3n, rules, "one")
    own = g3n.home / "data" / "g3n" / "kv" / "1.npz"
    assert own.stat().st_size * 4 < find_kept(g3n)[0].stat().st_size
    told, notes = ask(g3n, rules, "two", "-c")
    n_computed = first["prompt_tokens"] + first["output_tokens"] - 1  # the last is not read
    assert told["disk_tokens"] == told["reused_tokens"] >= n_computed
    assert f"({told['disk_tokens']:,} tokens from disk)" in notes


@pytest.mark.parametrize("n_bytes", [None, 0, 5000])
def test_a_conversation_that_lost_its_system_text_goes_on_all_the_same(g3n, rules, n_bytes):
    for _ in range(2):
        ask(g3n, rules, "one")
    whole, _ = ask(g3n, rules, "two", "--session", "2", "-n", "12")
    (file,) = find_kept(g3n)
    if n_bytes is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:n_bytes])
    told, notes = ask(g3n, rules, "two", "--session", "1", "-n", "12")
    assert "(it is read again: " in notes
    assert (told["disk_tokens"], told["text"]) == (0, whole["text"])
    assert ask(g3n, rules, "three", "--session", "1")[0]["disk_tokens"] > told["prompt_tokens"]
    turns = json.loads(g3n.run("sessions", "show", "1", "--json").stdout)["turns"]
    assert len(turns) == 3


def test_all_questions_together_take_what_they_may(g3n, rules):
    config = g3n.home / "config" / "g3n" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[chat]\nkv-disk = 1\n")
    assert "kv takes 1 MB at most" in g3n.run("config").stdout.decode()
    assert "kv takes 2 MB" in g3n.run("config", G3N_KV_DISK="2").stdout.decode()
    ask(g3n, rules, "one")
    for number in range(6):
        rules.write_text(RULES.replace("two", f"two {number}"))
        ask(g3n, rules, "one")
        kept = list((g3n.home / "data" / "g3n" / "kv").iterdir())
        assert sum(file.stat().st_size for file in kept) <= 1_000_000
    assert ask(g3n, rules, "two", "-c")[0]["disk_tokens"] > 256


def test_questions_at_once_keep_and_find_it(g3n, rules):
    """Each writes, reads and makes room in the same folder."""
    alone, _ = ask(g3n, rules, "one", "--no-save")
    command = (*ASK, "--kv-disk", "1", "--system", RULES, "--json", "one")
    for _ in range(3):
        runs = [g3n.start(*command) for _ in range(4)]
        for run in runs:
            out, notes = run.communicate()
            assert (run.returncode, json.loads(out)["text"]) == (0, alone["text"])
            assert b"warning" not in notes
    kept = list((g3n.home / "data" / "g3n" / "kv").iterdir())
    assert sum(file.stat().st_size for file in kept) <= 1_000_000
    assert ask(g3n, rules, "two", "-c", "--kv-disk", "1")[0]["disk_tokens"] > 256


def test_removing_conversations_and_cleaning_forget_system_texts(g3n, rules):
    ask(g3n, rules, "one")
    ask(g3n, rules, "two")
    assert "system texts" in g3n.run("privacy").stdout.decode()
    assert g3n.run("sessions", "rm", "1").returncode == 0
    assert ask(g3n, rules, "three", "-c")[0]["disk_tokens"] > 256
    assert g3n.run("sessions", "rm", "2").returncode == 0
    assert find_kept(g3n) == []
    ask(g3n, rules, "one")
    assert g3n.run("clean", "--yes", "--what", "sessions").returncode == 0
    assert find_kept(g3n) == []
    ask(g3n, rules, "one")
    assert g3n.run("clean", "--yes").returncode == 0
    assert find_kept(g3n) == []


def test_models_of_llama_cpp_read_the_text_each_time(g3n, rules):
    for _ in range(2):
        told, notes = ask(g3n, rules, "one", "-m", find_smollm2())
        assert (told["disk_tokens"], find_kept(g3n)) == (0, [])
        assert "warning" not in notes
