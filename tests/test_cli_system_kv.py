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


def test_a_conversation_that_goes_on_tells_what_comes_from_disk(g3n, rules):
    ask(g3n, rules, "one")
    told, _ = ask(g3n, rules, "two", "-c")
    assert told["disk_tokens"] == told["reused_tokens"] > 256


def test_removing_conversations_and_cleaning_forget_system_texts(g3n, rules):
    ask(g3n, rules, "one")
    assert "system texts" in g3n.run("privacy").stdout.decode()
    assert g3n.run("sessions", "rm", "1").returncode == 0
    assert find_kept(g3n) == []
    ask(g3n, rules, "one")
    assert g3n.run("clean", "--yes").returncode == 0
    assert find_kept(g3n) == []


def test_models_of_llama_cpp_read_the_text_each_time(g3n, rules):
    for _ in range(2):
        told, notes = ask(g3n, rules, "one", "-m", find_smollm2())
        assert (told["disk_tokens"], find_kept(g3n)) == (0, [])
        assert "warning" not in notes
