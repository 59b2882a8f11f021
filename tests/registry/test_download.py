import os
import shutil

import huggingface_hub
import pytest

from g3n_cli.errors import ExitCode, G3nError, ServerError
from g3n_cli.registry import download, store
from g3n_cli.registry.download import fetch
from g3n_cli.registry.hub import Patience, Remote
from g3n_cli.registry.table import HubFile
from tests.hub_server import (
    COMMIT,
    FILE,
    REPO,
    corrupt,
    drop_after,
    fail,
    ignore_range,
    lie,
    redirect,
    run_hub,
    shift,
)

CONTENT = os.urandom(3_000_000)
THIRD = 1_000_000


@pytest.fixture
def hub():
    with run_hub(CONTENT) as hub:
        yield hub
    huggingface_hub.close_session()


@pytest.fixture
def target(tmp_path):
    return tmp_path / REPO / FILE


def fetch_from(hub, target, *, n_attempts=4, waits=None, told=None, **changes):
    values = {"n_bytes": len(hub.content), "sha256": hub.sha256} | changes
    remote = Remote(HubFile(REPO, FILE), hub.file_url, COMMIT, **values)
    pause = [].append if waits is None else waits.append
    patience = Patience(n_attempts, 5.0, pause)
    report = (lambda *_: None) if told is None else lambda *pair: told.append(pair)
    return fetch(remote, target, report, patience)


def files_of(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_comes_with_its_record_and_nothing_else(hub, target):
    told = []
    record = fetch_from(hub, target, told=told)
    assert target.read_bytes() == CONTENT
    assert (record.sha256, record.n_bytes, record.revision) == (hub.sha256, 3_000_000, COMMIT)
    assert record.is_verified
    assert store.read_record(target) == record
    assert files_of(target) == [FILE, f"{FILE}.json"]
    assert told[-1] == (3_000_000, 3_000_000)
    assert told == sorted(told)


def test_dropped_connections_are_resumed_where_they_ended(hub, target):
    hub.script = [drop_after(THIRD), drop_after(THIRD)]
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT
    assert hub.starts == [0, THIRD, 2 * THIRD]


def test_drops_do_not_count_as_long_as_something_comes(hub, target):
    hub.script = [drop_after(100_000)] * 20
    fetch_from(hub, target, n_attempts=2)
    assert target.read_bytes() == CONTENT


def test_a_server_that_brings_nothing_is_given_up_and_the_part_kept(hub, target):
    hub.script = [drop_after(THIRD), *[drop_after(0)] * 9]
    waits = []
    with pytest.raises(ServerError) as caught:
        fetch_from(hub, target, waits=waits)
    assert caught.value.exit_code is ExitCode.FAILURE
    assert waits == sorted(waits)
    assert files_of(target) == [f"{FILE}.{hub.sha256[:16]}.part"]
    hub.script = []
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT
    assert hub.starts[-1] == THIRD


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_when_it_says(hub, target, status):
    hub.script = [fail(status, Retry_After="7"), fail(status)]
    waits = []
    fetch_from(hub, target, waits=waits)
    assert target.read_bytes() == CONTENT
    assert waits == [7, 2]


def test_nobody_waits_longer_than_a_minute(hub, target):
    hub.script = [fail(503, Retry_After="86400")]
    waits = []
    fetch_from(hub, target, waits=waits)
    assert waits == [60]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusals_are_told_at_once(hub, target, status):
    hub.script = [fail(status)] * 9
    with pytest.raises(G3nError) as caught:
        fetch_from(hub, target)
    assert caught.value.exit_code is ExitCode.MODEL
    assert len(hub.starts) == 1
    assert files_of(target) == []


def test_a_link_that_has_expired_is_asked_for_anew(hub, target):
    """The Hub's links are signed for an hour; each attempt begins at the Hub itself."""
    with run_hub(CONTENT) as cdn:
        hub.script = [redirect(f"{cdn.url}/a"), redirect(f"{cdn.url}/b")]
        cdn.script = [drop_after(THIRD)]
        fetch_from(hub, target)
        assert target.read_bytes() == CONTENT
        assert cdn.starts == [0, THIRD]


def test_the_token_goes_to_the_hub_alone(hub, target, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with run_hub(CONTENT) as cdn:
        hub.script = [redirect(f"{cdn.url.replace('127.0.0.1', 'localhost')}/file")]
        fetch_from(hub, target)
        assert target.read_bytes() == CONTENT
        assert hub.tokens == ["Bearer hf_secret"]
        assert cdn.tokens == [None]


def test_redirects_without_end_are_refused(hub, target):
    hub.script = [redirect(hub.file_url)] * 50
    with pytest.raises(ServerError, match="cannot fetch"):
        fetch_from(hub, target)


@pytest.mark.parametrize("length", [10, 2_999_999, 3_000_001, 9_000_000])
def test_a_server_that_lies_about_the_length_is_told_at_once(hub, target, length):
    hub.script = [lie(length)]
    with pytest.raises(ServerError, match=f"offers {length:,} bytes where 3,000,000"):
        fetch_from(hub, target)
    assert not target.exists()


@pytest.mark.parametrize("announced", [1_000, 2_999_999, 3_000_001])
def test_an_announced_length_that_is_wrong_is_told_too(hub, target, announced):
    with pytest.raises(ServerError, match=f"where {announced:,} were announced"):
        fetch_from(hub, target, n_bytes=announced)
    assert not target.exists()


def test_without_an_announced_length_the_digest_decides(hub, target):
    fetch_from(hub, target, n_bytes=None)
    assert target.read_bytes() == CONTENT


def test_wrong_bytes_never_get_the_files_name(hub, target):
    hub.script = [corrupt]
    with pytest.raises(G3nError, match="wrong bytes"):
        fetch_from(hub, target)
    assert files_of(target) == []


def test_a_part_that_is_damaged_is_fetched_anew(hub, target):
    hub.script = [drop_after(THIRD), *[fail(503)] * 9]
    with pytest.raises(ServerError):
        fetch_from(hub, target)
    (part,) = store.find_parts(target)
    part.write_bytes(bytes(THIRD))
    hub.script = []
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT
    assert hub.starts[-2:] == [THIRD, 0]


@pytest.mark.parametrize("n_there", [3_000_000, 3_000_005])
def test_a_part_that_is_as_long_as_the_file_is_checked_first(hub, target, n_there):
    target.parent.mkdir(parents=True)
    part = target.with_name(f"{FILE}.{hub.sha256[:16]}.part")
    part.write_bytes((CONTENT + bytes(5))[:n_there])
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT
    assert hub.starts == ([] if n_there == 3_000_000 else [0])


def test_parts_of_other_content_are_not_joined(hub, target):
    target.parent.mkdir(parents=True)
    old = target.with_name(f"{FILE}.{'a' * 16}.part")
    old.write_bytes(b"old")
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT
    assert not old.exists()


def test_a_server_that_cannot_resume_sends_all_again(hub, target):
    hub.script = [drop_after(THIRD), ignore_range]
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT


def test_a_part_from_another_place_is_refused(hub, target):
    hub.script = [drop_after(THIRD), shift]
    with pytest.raises(ServerError, match="another part"):
        fetch_from(hub, target)
    assert not target.exists()


def test_without_a_digest_nothing_is_resumed_and_the_record_says_so(hub, target):
    target.parent.mkdir(parents=True)
    target.with_name(f"{FILE}.0.part").write_bytes(CONTENT[:THIRD])
    record = fetch_from(hub, target, sha256=None)
    assert target.read_bytes() == CONTENT
    assert hub.starts == [0]
    assert not record.is_verified


def test_too_little_space_is_told_before_anything_is_fetched(hub, target, monkeypatch):
    usage = shutil.disk_usage(target.anchor)._replace(free=2_999_999)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(G3nError, match=r"needs 3 MB") as caught:
        fetch_from(hub, target)
    assert "G3N_MODELS" in caught.value.hint
    assert hub.starts == []


def test_two_at_a_time_do_not_write_one_file(hub, target):
    def again(handler, hub, start):
        with pytest.raises(G3nError, match="another g3n pull"):
            fetch_from(hub, target)
        drop_after(THIRD)(handler, hub, start)

    hub.script = [again]
    fetch_from(hub, target)
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_told(hub, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(G3nError, match="cannot write"):
        fetch_from(hub, tmp_path / "file" / FILE)


def test_what_is_removed_leaves_no_folders_behind(hub, target, monkeypatch):
    monkeypatch.setenv("G3N_MODELS", str(target.parents[2] / "models"))
    path = store.path_of(HubFile(REPO, FILE))
    fetch_from(hub, path)
    store.remove(path)
    assert list(store.find_store().iterdir()) == []
