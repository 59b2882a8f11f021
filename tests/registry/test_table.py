import pytest

from g3n_cli.errors import UsageError
from g3n_cli.registry.defaults import EngineDefaults
from g3n_cli.registry.models import resolve
from g3n_cli.registry.table import (
    HubFile,
    find_user_models,
    parse_hub_ref,
    parse_table,
    read_table,
)
from tests.model_files import SMALL8


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes the person's own models.toml."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = find_user_models()
    path.parent.mkdir(parents=True)

    def write(text):
        path.write_text(text)
        return path

    return write


def test_a_model_of_ones_own_has_all_that_ours_have(own):
    path = own(
        f'[mine]\naliases = ["m"]\npath = "{SMALL8}"\ndescription = "Mine"\nlicence = "MIT"\n'
        'template = "mine.jinja"\n[mine.defaults]\nctx = 512\nkv = "q8_0"\nsize = "70%"\n'
        "[mine.sampling]\ntemperature = 1\n"
    )
    path.with_name("mine.jinja").write_text("{{ messages }}")
    spec = resolve("M")
    assert (spec.name, spec.path, spec.description) == ("mine", SMALL8, "Mine")
    assert spec.defaults == EngineDefaults(ctx=512, kv="q8_0", size="70%")
    assert (spec.template, spec.sampling.temperature) == ("{{ messages }}", 1)


def test_a_path_counts_from_the_tables_folder(own):
    path = own('[mine]\npath = "models/x.gguf"\n')
    model = path.parent / "models" / "x.gguf"
    model.parent.mkdir()
    model.write_bytes(b"GGUF")
    assert resolve("mine").path == model


def test_ones_own_model_goes_before_ours_of_the_same_name(own):
    own(f'[smollm2]\npath = "{SMALL8}"\n')
    assert resolve("smollm2").path == SMALL8


def test_sizes_of_ones_own_are_known(own):
    own('[[size]]\nname = "mini"\nn_layer = 3\nn_ff = 64\nwidths = "32*3"\n')
    assert read_table().sizes[0].name == "mini"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[mine", "is not TOML"),
        ('mine = "x"', "'mine' stands outside of a table"),
        ("[mine]", "[mine] path, repo, package: one of the three"),
        ('[mine]\npath = "x"\nrepo = "a/b"', "[mine] path, repo, package: one of the three"),
        ("[mine]\npath = 3", "[mine] path: must be a text, not 3"),
        ('[mine]\npath = "x"\nsise = 1', "[mine] sise: means nothing here"),
        ('[mine]\npath = "x"\naliases = "m"', "[mine] aliases: must be a list of texts"),
        ('[Mine]\npath = "x"', "[Mine] aliases: 'Mine': names are lower case"),
        ('[mine]\nrepo = "a/b"', "[mine] file: is missing"),
        ('[mine]\nrepo = "a"\nfile = "x.gguf"', "[mine] repo: must be OWNER/REPOSITORY"),
        ('[mine]\nrepo = "a/b"\nfile = "../x.gguf"', "[mine] file: must be the path of"),
        ('[mine]\nrepo = "a/b"\nfile = "x.gguf"\nsha256 = "ab"', "[mine] sha256: must be 64"),
        ('[mine]\nrepo = "a/b"\nfile = "x.gguf"\nbytes = 0', "[mine] bytes: must be at least 1"),
        ('[mine]\nrepo = "a/b"\nfile = "x.gguf"\nbytes = true', "[mine] bytes: must be a whole"),
        ('[mine]\npath = "x"\ngated = 1', "[mine] gated: must be true or false, not 1"),
        ('[mine]\npath = "x"\ntemplate = "none"', "[mine] template: cannot read none"),
        ('[mine]\npath = "x"\n[mine.defaults]\nkv = "q2"', "[mine.defaults] kv: must be one of"),
        ('[mine]\npath = "x"\n[mine.defaults]\nthreads = 2', "[mine.defaults] threads: means"),
        ('[mine]\npath = "x"\n[mine.sampling]\ntop_k = 0.5', "[mine.sampling] top_k: must be"),
        ('[mine]\npath = "x"\n[mine.sampling]\ntop_p = -1', "[mine.sampling] top_p: must not be"),
        ('[mine]\npath = "x"\nprojector = {file = "m.gguf"}', "[mine.projector] repo: is missing"),
        ('[mine]\npath = "x"\naliases = ["smollm2"]', "'smollm2' names both"),
        ('[size]\nname = "x"', "sizes stand in tables that begin with [[size]]"),
        ('[[size]]\nname = "x"\nwidths = "3*2"', "[size] n_layer, n_ff: tell which models"),
        ('[[size]]\nname="x"\nn_layer=1\nn_ff=2\nwidths="3"', "[size] widths: '3' are no widths"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(own, text, fault):
    path = own(text)
    with pytest.raises(UsageError) as caught:
        read_table()
    assert caught.value.message.startswith(str(path))
    assert fault in caught.value.message
    assert "\n" not in caught.value.message


def test_a_table_that_is_not_text_is_told(tmp_path):
    path = tmp_path / "models.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        parse_table(path)


@pytest.mark.parametrize("text", ["hf:", "hf:a/b", "hf:a:b.gguf", "hf:a/b:", "hf:a/b:/x.gguf"])
def test_references_of_another_form_are_refused(text):
    with pytest.raises(UsageError, match="is not hf:OWNER/REPOSITORY:FILE"):
        parse_hub_ref(text)


def test_a_reference_names_repository_and_file():
    file = parse_hub_ref("hf:some-one/Model.v2-GGUF:sub/Model.v2-Q4_0.gguf")
    assert file == HubFile("some-one/Model.v2-GGUF", "sub/Model.v2-Q4_0.gguf")
    assert parse_hub_ref(file.ref) == file


def test_all_gemma_3n_entries_offer_sizes_of_their_shape():
    table = read_table()
    shapes = {(size.n_layer, size.n_ff) for size in table.sizes}
    found = [entry for name, entry in table.entries.items() if name.startswith("gemma-3n")]
    assert len(found) == 6
    assert all((entry.n_layer, entry.n_ff) in shapes for entry in found)
    assert all(entry.licence and entry.licence_url for entry in found)
