import json
import os

import pytest

from g3n_cli.errors import ModelError
from g3n_cli.registry.models import resolve
from g3n_cli.registry.places import find_held, find_hub_file

REPO, FILE = "unsloth/gemma-3n-E2B-it-GGUF", "gemma-3n-E2B-it-Q4_K_M.gguf"
DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in (*os.environ,):
        if name.startswith(("HF_", "HUGGINGFACE_", "XDG_", "OLLAMA_", "LLAMA_", "G3N_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def put(path, content=b"GGUF"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_in_hub_cache(folder, repo=REPO, file=FILE, commit="c1", digest=DIGEST):
    root = folder / f"models--{repo.replace('/', '--')}"
    blob = put(root / "blobs" / digest)
    link = root / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    return link


def put_in_ollama(folder, *name, layers=None, digest=DIGEST):
    put(folder / "blobs" / f"sha256-{digest}")
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    template = {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:00"}
    content = {"layers": [template, model] if layers is None else layers}
    return put(folder.joinpath(*name), json.dumps(content).encode())


def only():
    (held,) = find_held()
    return held


@pytest.mark.usefixtures("home")
def test_an_empty_home_holds_nothing():
    assert find_held() == []


def test_the_hub_cache_is_read_with_its_digests(home):
    link = put_in_hub_cache(home / ".cache" / "huggingface" / "hub")
    held = only()
    assert (held.ref, held.place, held.path) == (f"hf:{REPO}:{FILE}", "huggingface", link)
    assert (held.repo, held.file, held.sha256, held.n_bytes) == (REPO, FILE, DIGEST, 4)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")],
)
def test_the_hub_cache_is_where_the_environment_says(home, monkeypatch, name, folder):
    monkeypatch.setenv(name, str(home / "there"))
    put_in_hub_cache(home / "there" / folder)
    assert only().place == "huggingface"


def test_of_several_snapshots_the_current_one_counts(home):
    hub = home / ".cache" / "huggingface" / "hub"
    put_in_hub_cache(hub, commit="c1")
    current = put_in_hub_cache(hub, commit="c2", digest="f" * 64)
    put_in_hub_cache(hub, commit="c3", digest="e" * 64)
    put(current.parents[2] / "refs" / "main", b"c2")
    assert only().path == current


def test_a_link_whose_download_was_broken_off_is_no_model(home):
    link = put_in_hub_cache(home / ".cache" / "huggingface" / "hub")
    link.resolve().unlink()
    assert find_held() == []


def test_llama_cpps_flat_cache_is_matched_by_name(home):
    path = put(home / ".cache" / "llama.cpp" / f"{REPO}_{FILE}".replace("/", "_"))
    assert only().place == "llama.cpp"
    assert find_hub_file(REPO, FILE).path == path
    assert resolve("gemma-3n-e2b").path == path
    assert resolve(f"llama.cpp:{path.name}").path == path


def test_llama_cpps_cache_may_look_like_the_hubs(home, monkeypatch):
    monkeypatch.setenv("LLAMA_CACHE", str(home / "llama"))
    link = put_in_hub_cache(home / "llama")
    assert (only().place, only().path) == ("llama.cpp", link)


@pytest.mark.parametrize("folder", [".lmstudio/models", ".cache/lm-studio/models"])
def test_lm_studio_keeps_the_hubs_names(home, folder):
    path = put(home / folder / REPO / FILE)
    assert (only().ref, only().place) == (f"lmstudio:{REPO}/{FILE}", "lmstudio")
    assert resolve("gemma-3n-e2b").path == path
    assert resolve(f"hf:{REPO}:{FILE}").path == path
    assert resolve(f"lmstudio:{REPO}/{FILE}").path == path


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        (("manifests", "registry.ollama.ai", "library", "gemma3n", "e2b"), "gemma3n:e2b"),
        (("manifests-v2", "ollama.com", "library", "gemma3n", "e2b"), "gemma3n:e2b"),
        (("manifests", "registry.ollama.ai", "me", "mine", "latest"), "me/mine:latest"),
        (("manifests", "hf.co", "unsloth", "x-GGUF", "Q4_0"), "hf.co/unsloth/x-GGUF:Q4_0"),
    ],
)
def test_ollamas_models_are_called_as_it_calls_them(home, name, ref):
    folder = home / ".ollama" / "models"
    put_in_ollama(folder, *name)
    held = only()
    assert (held.ref, held.sha256) == (f"ollama:{ref}", DIGEST)
    assert resolve(f"ollama:{ref.removesuffix(':latest')}").path == held.path
    assert held.path == folder / "blobs" / f"sha256-{DIGEST}"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"layers": 3}', b'{"layers": [3]}', b"\xff", b"[" * 100_000],
    ids=lambda content: repr(content[:16]),
)
def test_manifests_that_make_no_sense_are_passed_over(home, content):
    folder = home / ".ollama" / "models"
    put(folder / "manifests" / "h" / "n" / "m" / "t", content)
    assert find_held() == []


@pytest.mark.parametrize("digest", ["sha256:../../secret", "sha256:" + "g" * 64, 7, None])
def test_a_manifest_cannot_name_other_files(home, digest):
    put(home / ".ollama" / "secret")
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest}
    put_in_ollama(home / ".ollama" / "models", "manifests", "h", "n", "m", "t", layers=[layer])
    assert find_held() == []


def test_one_file_in_two_places_is_listed_once_and_ours_comes_first(home, monkeypatch):
    link = put_in_hub_cache(home / ".cache" / "huggingface" / "hub")
    other = home / ".lmstudio" / "models" / REPO / FILE
    other.parent.mkdir(parents=True)
    other.symlink_to(link.resolve())
    assert only().place == "huggingface"
    monkeypatch.setenv("G3N_MODELS", str(home / "ours"))
    ours = put(home / "ours" / REPO / FILE)
    assert [held.place for held in find_held()] == ["g3n", "huggingface"]
    assert resolve("gemma-3n-e2b").path == ours


def test_a_folder_that_cannot_be_read_counts_as_empty(home, monkeypatch):
    put(home / ".ollama", b"a file, not a folder")
    put(home / ".lmstudio" / "models", b"")
    monkeypatch.setenv("HF_HUB_CACHE", "/dev/null")
    assert find_held() == []


@pytest.mark.usefixtures("home")
def test_what_nobody_holds_is_told_with_the_command():
    with pytest.raises(
        ModelError, match=r"not on this machine; fetch it \(3.03 GB\) with: g3n pull"
    ):
        resolve("gemma-3n-e2b")
    with pytest.raises(ModelError, match="no model or file is called 'ollama:x'"):
        resolve("ollama:x")
