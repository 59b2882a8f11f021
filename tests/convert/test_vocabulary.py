import json

import numpy as np
import pytest

from g3n_cli.convert.plan import write_plan
from g3n_cli.convert.text import plan_text
from g3n_cli.convert.vocabulary import TokenType, read_vocabulary
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.errors import ModelError
from tests.convert.checkpoints import CHECKPOINT, copy_checkpoint, edit_json

TEXTS = ["The other one, they said", "what  time is it?\n\n<b>you</b> \u00e9\U0001f600", "zzz her"]


@pytest.fixture
def without_model(tmp_path):
    """The checkpoint as transformers 5 saves it again: tokenizer.json alone."""
    folder = copy_checkpoint(tmp_path)
    (folder / "tokenizer.model").unlink()
    edit_json(folder / "tokenizer_config.json", lambda c: c.pop("added_tokens_decoder"))
    return folder


def test_tokenizer_json_gives_the_tokens_of_tokenizer_model(without_model):
    found = read_vocabulary(without_model, 528).tokens
    wanted = read_vocabulary(CHECKPOINT, 528).tokens
    assert [(t.text, t.type) for t in found] == [(t.text, t.type) for t in wanted]
    merged = [
        i
        for i, t in enumerate(wanted)
        if t.type == TokenType.NORMAL and t.score > -1000 and t.text[0] != "<"
    ]
    assert np.argsort([found[i].score for i in merged]).tolist() == (
        np.argsort([wanted[i].score for i in merged]).tolist()
    )


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_json_cuts_text_as_tokenizer_model_does(tmp_path, without_model, text):
    ids = []
    for folder in (CHECKPOINT, without_model):
        write_plan(plan_text(folder, "q8_0"), tmp_path / "m.gguf")
        tokenizer = LlamaTokenizer.open(tmp_path / "m.gguf")
        ids.append(tokenizer.encode(text))
        tokenizer.close()
    assert ids[0] == ids[1]
    assert len(ids[0]) > 2


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t: t["model"].pop("merges"), "no byte-pair encoding"),
        (lambda t: t["model"].update(merges=[1]), "a merge is not a pair"),
        (lambda t: t["model"]["vocab"].update(x="y"), "token 'x' has no number"),
        (lambda t: t["added_tokens"].append({"id": 3}), "an added token has no number"),
        (lambda t: t["added_tokens"].append(3), "an added token has no number"),
        (lambda t: t.update(added_tokens=3), "added_tokens is no list"),
        (lambda t: t["model"]["vocab"].update({"\ud800": 519}), "is not Unicode"),
    ],
)
def test_a_tokenizer_json_of_another_form_is_refused(without_model, change, fault):
    edit_json(without_model / "tokenizer.json", change)
    with pytest.raises(ModelError, match=fault):
        read_vocabulary(without_model, 528)


def test_a_checkpoint_without_a_tokenizer_is_refused(without_model):
    (without_model / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
        read_vocabulary(without_model, 528)


@pytest.mark.parametrize("n", [0, 1, 100, 1000])
def test_a_tokenizer_model_cut_short_is_refused(tmp_path, n):
    folder = copy_checkpoint(tmp_path)
    raw = (folder / "tokenizer.model").read_bytes()
    (folder / "tokenizer.model").write_bytes(raw[:n])
    with pytest.raises(ModelError, match="not a SentencePiece model"):
        read_vocabulary(folder, 528)


@pytest.mark.parametrize(
    "place", ["tokenizer_config.json", "chat_template.jinja", "chat_template.json"]
)
def test_the_chat_template_is_found_where_versions_put_it(tmp_path, place):
    folder = copy_checkpoint(tmp_path)
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    if place != "tokenizer_config.json":
        edit_json(folder / "tokenizer_config.json", lambda c: c.pop("chat_template"))
        text = template if place.endswith("jinja") else json.dumps({"chat_template": template})
        (folder / place).write_text(text)
    assert read_vocabulary(folder, 528).chat_template == template
