"""``g3n pull`` as a person meets it: a process of its own, against a server of our own."""

import json
import os
import resource
import subprocess
import time

import pytest

from g3n_cli.commands.pull import make_patience
from g3n_cli.ui.terminal import Terminal
from tests.fakes import Pipe, Screen
from tests.hub_server import FILE, REPO, fail, run_hub, trickle
from tests.model_files import SMALL8
from tests.program import COMMAND, ROOT, assert_fails, make_environment

REF = f"hf:{REPO}:{FILE}"
N_KILLS = 6


@pytest.fixture(scope="module")
def content():
    """A file that is a model, and long enough to be interrupted."""
    return SMALL8.read_bytes()


@pytest.fixture
def hub(content):
    with run_hub(content) as hub:
        yield hub


@pytest.fixture
def store(tmp_path):
    return tmp_path / "data" / "g3n" / "models"


def pull(g3n, hub, *arguments, **changes):
    return g3n.run("pull", *arguments, HF_ENDPOINT=hub.url, **changes)


def test_a_model_is_fetched_used_listed_verified_and_removed(g3n, hub, store, content):
    missing = g3n.run("chat", "-m", REF, "hi")
    assert_fails(missing, 3, "not on this machine", f"g3n pull {REF}")
    assert hub.tokens == []
    done = pull(g3n, hub, REF)
    path = store / REPO / FILE
    assert (done.returncode, done.stdout.decode()) == (0, f"{path}\n"), done.stderr.decode()
    assert path.read_bytes() == content
    listed = json.loads(g3n.run("list", "--json").stdout)
    assert [line["place"] for line in listed if line["name"] == REF] == ["g3n"]
    assert g3n.run("chat", "-m", REF, "-n", "2", "hi").returncode == 0
    verified = json.loads(g3n.run("verify", REF, "--json").stdout)
    assert (verified["sha256"], verified["is_known"]) == (hub.sha256, True)
    shown = json.loads(g3n.run("show", REF, "--json").stdout)["source"]
    assert (shown["place"], shown["repo"], shown["sha256"]) == ("g3n", REPO, hub.sha256)
    assert_fails(g3n.run("rm", REF), 2, "delete tiny-Q8_0.gguf")
    assert path.exists()
    assert g3n.run("rm", REF, "--yes").returncode == 0
    assert list(store.iterdir()) == []


def test_what_is_here_is_not_fetched_again(g3n, hub):
    pull(g3n, hub, REF)
    n_asked = len(hub.tokens)
    done = pull(g3n, hub, REF, "--json")
    (file,) = json.loads(done.stdout)["files"]
    assert (file["place"], file["n_bytes"]) == ("g3n", len(hub.content))
    assert "already here" in done.stderr.decode()
    assert len(hub.tokens) == n_asked


def test_a_damaged_file_is_told_by_verify(g3n, hub, store):
    pull(g3n, hub, REF)
    path = store / REPO / FILE
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    assert_fails(g3n.run("verify", REF), 3, "is damaged")


def test_killed_at_any_moment_it_goes_on_and_never_shows_half_a_file(g3n, hub, store, content):
    path = store / REPO / FILE
    hub.script = [trickle(16_384, 0.002)] * (N_KILLS + 1)
    environment = make_environment(g3n.home) | {"HF_ENDPOINT": hub.url}
    for _ in range(N_KILLS):
        before = len(hub.starts)
        process = subprocess.Popen(
            [*COMMAND, "pull", REF],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(hub.starts) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.02)
        process.kill()
        process.wait()
        assert not path.exists() or path.read_bytes() == content
    done = pull(g3n, hub, REF)
    assert done.returncode == 0, done.stderr.decode()
    assert path.read_bytes() == content
    assert max(hub.starts) > 0
    assert hub.starts == sorted(hub.starts)


def test_a_full_disk_is_told_and_what_came_is_kept(g3n, hub, store, content):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    environment = make_environment(g3n.home) | {"HF_ENDPOINT": hub.url}
    done = subprocess.run(
        [*COMMAND, "pull", REF],
        cwd=ROOT,
        env=environment,
        preexec_fn=limit,
        capture_output=True,
        check=False,
    )
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert lines[-2].startswith("error: ")
    assert "is full" in lines[-2]
    assert "goes on from there" in lines[-1]
    (part,) = (store / REPO).iterdir()
    assert part.stat().st_size == 1_000_000
    assert pull(g3n, hub, REF).returncode == 0
    assert (store / REPO / FILE).read_bytes() == content
    assert hub.starts[-1] == 1_000_000


@pytest.mark.parametrize(
    ("status", "headers", "parts"),
    [
        (401, {}, ["does not exist, or is not for you"]),
        (401, {"X_Error_Code": "RepoNotFound"}, ["does not exist, or is not for you"]),
        (403, {}, ["is not for you (403)"]),
        (403, {"X_Error_Code": "GatedRepo"}, [f"{REPO} is gated"]),
        (404, {"X_Error_Code": "RevisionNotFound"}, ["has no revision main"]),
        (404, {}, ["has no file"]),
    ],
    ids=str,
)
def test_refusals_say_what_to_do(g3n, hub, status, headers, parts):
    hub.ask = fail(status, **headers)
    done = pull(g3n, hub, REF)
    assert_fails(done, 3, *parts)
    if "GatedRepo" in headers.values():
        hint = done.stderr.decode().splitlines()[1]
        assert hint == f"hint: accept it at {hub.url}/{REPO}, then: hf auth login (or set HF_TOKEN)"


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_given_up(g3n, hub, status):
    hub.ask = fail(status, Retry_After="0")
    assert_fails(pull(g3n, hub, REF), 1, f"the server answers {status}")


def test_a_file_that_is_not_in_the_repository_is_named(g3n, hub):
    assert_fails(pull(g3n, hub, f"hf:{REPO}:other.gguf"), 3, "has no file other.gguf")


def test_a_known_file_that_has_changed_is_not_taken_for_it(g3n, hub):
    folder = g3n.home / "config" / "g3n"
    folder.mkdir(parents=True)
    (folder / "models.toml").write_text(
        f'[mine]\nrepo = "{REPO}"\nfile = "{FILE}"\nsha256 = "{"ab" * 32}"\ngated = true\n'
    )
    assert_fails(pull(g3n, hub, "mine"), 3, "is gated")
    assert hub.tokens == []
    done = pull(g3n, hub, "mine", HF_TOKEN="hf_x")
    assert_fails(done, 1, "is not the file that g3n knows")
    assert hub.starts == []


def test_a_name_stands_for_its_file_and_its_projector(g3n, hub):
    folder = g3n.home / "config" / "g3n"
    folder.mkdir(parents=True)
    (folder / "models.toml").write_text(
        f'[mine]\nrepo = "{REPO}"\nfile = "{FILE}"\nprojector = {{ file = "mmproj.gguf" }}\n'
    )
    done = pull(g3n, hub, "mine")
    assert done.returncode == 3
    assert "has no file mmproj.gguf" in done.stderr.decode()
    assert len(hub.starts) == 1


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "G3N_OFFLINE"])
def test_offline_nothing_is_asked(g3n, hub, name):
    assert_fails(pull(g3n, hub, REF, **{name: "1"}), 1, name)
    assert hub.tokens == []


def test_a_server_that_is_not_there_is_told(g3n):
    closed = "http://127.0.0.1:9"
    code = (
        "import sys; from g3n_cli.registry import hub; hub.Patience.__init__.__defaults__ = "
        "(1, 5.0, lambda _s: None); from g3n_cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    environment = make_environment(g3n.home) | {"HF_ENDPOINT": closed}
    command = [COMMAND[0], "-c", code, "pull", REF]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert_fails(done, 1, f"cannot fetch {REF}")


def test_proxies_are_used(g3n, hub):
    g3n.run("pull", REF, HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=hub.url)
    assert hub.tokens == [None]


@pytest.mark.parametrize(
    "name", ["../x", "hf:a/b:../../x.gguf", "hf:a/../b:x.gguf", "hf:a/b:x.bin"]
)
def test_no_name_leads_out_of_the_store(g3n, hub, name):
    done = pull(g3n, hub, name)
    assert done.returncode in (2, 3)
    assert hub.tokens == []


def test_a_person_sees_that_a_busy_server_is_waited_for():
    terminal = Terminal(Screen(), Pipe(), Screen())
    make_patience(terminal).pause(0)
    assert "next try in 0 s" in terminal.stderr.getvalue()
