import pytest

from g3n_cli.errors import UsageError
from g3n_cli.registry import prompts
from g3n_cli.registry.prompts import (
    PromptTemplate,
    find_bundled_folder,
    find_own_file,
    find_prompt_folder,
    list_files,
    parse_template,
    read_template,
    substitute,
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "g3n" / "templates"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def write(own_folder):
    def write_template(text, name="mine"):
        path = own_folder / f"{name}.toml"
        path.write_text(text, "utf-8")
        return path

    return write_template


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$a and ${a}b", "A and Ab"),
        ("$$a costs $5, $ 3 $", "$a costs $5, $ 3 $"),
        ("$$$a", "$A"),
        ("{{ a }} {a} %(a)s", "{{ a }} {a} %(a)s"),
        ("${a", "${a"),
        ("$b", "$a {a} ${a}"),
    ],
)
def test_variables_are_replaced_once_and_nothing_else_is(text, result):
    assert substitute(text, {"a": "A", "b": "$a {a} ${a}"}) == result


def test_a_template_has_all_that_its_file_says(write):
    template = parse_template(
        write(
            """
            description = "One line"
            system = "You know $lang."
            prompt = "Look at $what:\\n\\n$input\\n"
            [defaults]
            lang = "C"
            [settings]
            temp = 0
            max-tokens = 9
            top_k = 3
            stop = ["END"]
            extract = true
            """
        )
    )
    assert (template.name, template.description) == ("mine", "One line")
    assert template.variables == ("lang", "what")
    assert template.settings == {
        "temp": 0.0,
        "max_tokens": 9,
        "top_k": 3,
        "stop": ["END"],
        "extract": True,
    }
    filled = template.fill({"what": "this $lang"})
    assert filled.make_system() == "You know C."
    assert filled.make_prompt("$what a") == "Look at this $lang:\n\n$what a"


@pytest.mark.parametrize(
    ("prompt", "text", "asked"),
    [
        ("Sum up.", "a text", "Sum up.\n\na text"),
        ("Sum up.", "", "Sum up."),
        ("Sum up:\n\n$input", "", "Sum up:"),
        ("<$input>", "a", "<a>"),
        ("", "a", "a"),
    ],
)
def test_the_input_comes_last_or_where_the_prompt_wants_it(tmp_path, prompt, text, asked):
    assert PromptTemplate("t", tmp_path, False, prompt=prompt).make_prompt(text) == asked


def test_variables_must_have_values_and_values_variables(write):
    template = parse_template(write('prompt = "$a $b $c"\n[defaults]\nb = ""'))
    with pytest.raises(UsageError, match="template mine needs a value of a, c") as caught:
        template.fill({})
    assert caught.value.hint == "-p a=... -p c=..."
    with pytest.raises(UsageError, match="has no variable 'd'"):
        template.fill({"a": "", "c": "", "d": ""})
    with pytest.raises(UsageError, match="has no variable 'input'"):
        parse_template(write('prompt = "$input"')).fill({"input": "x"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("prompt =", "is not TOML"),
        ("", "prompt: is missing, and so is system"),
        ("prompt = 3", "prompt: must be a text, not 3"),
        ('prompt = "a"\nfile = "x"', "file: means nothing here"),
        ('prompt = "a"\nsettings = 3', r"settings: must be a table, \[settings\]"),
        (
            'prompt = "a"\n[settings]\ndevice = "x"',
            r"\[settings\] device: a template may set model",
        ),
        ('prompt = "a"\n[settings]\ntemp = "x"', r"\[settings\] temp: must be a number"),
        ('prompt = "a"\n[settings]\nseed = true', r"\[settings\] seed: must be a whole number"),
        ('prompt = "a"\n[settings]\nstop = [1]', r"\[settings\] stop: must be a list of texts"),
        ('prompt = "a"\n[defaults]\nx = "y"', r"\[defaults\] x: neither prompt nor system"),
        ('prompt = "$x"\n[defaults]\nx = 3', r"\[defaults\] x: must be a text"),
        ('system = "$input"', r"system: \$input belongs in the prompt"),
        ('prompt = "a\\u0000"', "prompt: holds a NUL"),
    ],
)
def test_a_fault_is_named_with_its_place(write, text, fault):
    path = write(text)
    with pytest.raises(UsageError, match=fault) as caught:
        parse_template(path)
    assert str(path) in caught.value.message


def test_a_persons_own_comes_before_a_bundled_one(write):
    assert read_template("review").is_bundled
    own = write('prompt = "mine"', "review")
    assert read_template("review").path == own
    assert not read_template("review").is_bundled
    assert set(list_files()) >= {"commit", "review", "summarise", "translate"}


def test_a_path_needs_no_folder(tmp_path):
    path = tmp_path / "else.toml"
    path.write_text('prompt = "x"')
    assert read_template(str(path)).prompt == "x"
    with pytest.raises(UsageError, match="cannot read"):
        read_template(str(tmp_path / "none.toml"))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="no template 'comit'") as caught:
        read_template("comit")
    assert caught.value.hint.startswith("did you mean commit? there are commit, review")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-x", "a b", "x.toml"])
def test_what_is_no_name_has_no_file(name):
    with pytest.raises(UsageError, match="is no name of a template"):
        find_own_file(name)
    assert find_own_file("a-b_1") == find_prompt_folder() / "a-b_1.toml"


def test_every_bundled_template_is_sound():
    paths = sorted(find_bundled_folder().iterdir())
    assert len(paths) == 4
    for path in paths:
        template = parse_template(path)
        assert template.description
        assert template.takes_input
        assert prompts.find_file(template.name) == path
