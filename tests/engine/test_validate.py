import pytest

from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.validate import check_tokenizer, open_model
from g3n_cli.errors import ModelError
from tests.gguf_edit import BOOL, F32, I32, STRING, U32, Draft, array, read_draft, scalar, text
from tests.oracle import CASES, find_case
from tests.tiny_llama import make_llama

BYTE, NORMAL = 6, 1


@pytest.fixture
def draft() -> Draft:
    """A model of 7 layers, of which the last two share K/V."""
    return read_draft(find_case("odd7", "q8_0").path)


@pytest.fixture
def check(tmp_path):
    def check(draft: Draft) -> GgufFile:
        gguf = open_model(draft.write(tmp_path / "model.gguf"))
        check_tokenizer(gguf)
        return gguf

    return check


def tokens_of(draft: Draft, tmp_path) -> list[bytes]:
    gguf = GgufFile.open(Draft(draft.keys).write(tmp_path / "keys.gguf"))
    return list(gguf.metadata["tokenizer.ggml.tokens"].to_bytes())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_oracle_file_is_accepted(case):
    check_tokenizer(open_model(case.path))


def test_a_llama_file_is_accepted(check):
    assert check(make_llama()).architecture == "llama"


# ---------------------------------------------------------------------------------------- tensors


@pytest.mark.parametrize(
    "name",
    [
        "token_embd",
        "per_layer_token_embd",
        "altup_unembd_proj",
        "output_norm",
        "blk.0.attn_k",
        "blk.4.attn_k_norm",
        "blk.6.attn_q",
        "blk.6.laurel_l",
    ],
)
def test_a_missing_tensor_is_named(draft, check, name):
    draft.drop(f"{name}.weight")
    with pytest.raises(ModelError, match=rf"tensor {name}\.weight is missing"):
        check(draft)


def test_only_layers_that_own_keys_and_values_need_their_tensors(draft, check):
    assert not any(tensor.name == "blk.5.attn_k.weight" for tensor in draft.tensors)
    check(draft)
    draft.keys["gemma3n.attention.shared_kv_layers"] = scalar(U32, 1)
    with pytest.raises(ModelError, match=r"tensor blk\.5\.attn_k\.weight is missing"):
        check(draft)


@pytest.mark.parametrize(
    ("name", "ne"),
    [
        ("token_embd.weight", (96, 511)),
        ("blk.0.attn_q.weight", (96, 64)),
        ("blk.3.ffn_down.weight", (96, 160)),
        ("blk.3.laurel_r.weight", (32, 96)),
        ("output_norm.weight", (95,)),
    ],
)
def test_a_tensor_of_another_shape_is_named(draft, check, name, ne):
    n_values = 1
    for extent in ne:
        n_values *= extent
    draft.change(name, ne=ne, type=GgmlType.F32, data=bytes(4 * n_values))
    with pytest.raises(ModelError, match=rf"{name} has the shape"):
        check(draft)


def test_a_table_with_fewer_rows_than_tokens_is_refused(draft, check):
    table = draft.tensor("per_layer_token_embd.weight")
    width = table.ne[0]
    draft.change(table.name, ne=(width, 511), type=GgmlType.F16, data=bytes(2 * width * 511))
    with pytest.raises(ModelError, match="has too few rows: 511"):
        check(draft)


def test_extents_of_one_may_be_left_out_or_added(draft, check):
    draft.change("output_norm.weight", ne=(96, 1, 1))
    check(draft)


@pytest.mark.parametrize("kind", [GgmlType.F16, GgmlType.Q8_0])
def test_a_norm_that_is_not_float32_is_refused(draft, check, kind):
    draft.change("blk.1.attn_norm.weight", type=kind, data=bytes(192))
    with pytest.raises(ModelError, match=rf"attn_norm\.weight has the unusable type {kind.name}"):
        check(draft)


def test_a_matrix_of_a_type_without_products_is_refused(draft, check):
    matrix = draft.tensor("blk.1.attn_q.weight")
    draft.change(matrix.name, type=GgmlType.I8, data=bytes(matrix.ne[0] * matrix.ne[1]))
    with pytest.raises(ModelError, match="has the unusable type I8"):
        check(draft)


# --------------------------------------------------------------------------------------- tokenizer


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("model", text("no_vocab"), "not a known kind"),
        ("model", scalar(U32, 1), "not a known kind"),
        ("tokens", array(STRING, []), "not a list of tokens"),
        ("tokens", array(F32, [1.0]), "not a list of tokens"),
        ("scores", array(F32, [0.0] * 511), "not an array of 512 numbers"),
        ("scores", array(I32, [0] * 512), "not an array of 512 numbers"),
        ("scores", scalar(F32, 0.0), "not an array of 512 numbers"),
        ("token_type", array(I32, [1] * 511), "not an array of 512 numbers"),
        ("token_type", array(U32, [1] * 512), "not an array of 512 numbers"),
        ("token_type", array(BOOL, [True] * 512), "not an array of 512 numbers"),
        ("token_type", array(I32, [NORMAL] * 512), "0 byte tokens instead of 256"),
        ("token_type", array(I32, [BYTE] * 512), "byte token is not spelled"),
    ],
)
def test_a_wrong_key_of_the_tokenizer_is_named(draft, tmp_path, key, value, fault):
    draft.keys[f"tokenizer.ggml.{key}"] = value
    gguf = GgufFile.open(Draft(draft.keys).write(tmp_path / "keys.gguf"))
    with pytest.raises(ModelError, match=rf"tokenizer\.ggml\.{key}: .*{fault}"):
        check_tokenizer(gguf)


@pytest.mark.parametrize("key", ["model", "tokens"])
def test_a_missing_key_of_the_tokenizer_is_named(draft, tmp_path, key):
    del draft.keys[f"tokenizer.ggml.{key}"]
    gguf = GgufFile.open(Draft(draft.keys).write(tmp_path / "keys.gguf"))
    with pytest.raises(ModelError, match=rf"tokenizer\.ggml\.{key}: "):
        check_tokenizer(gguf)


def test_scores_and_types_may_be_left_out_where_bytes_are_letters(check):
    draft = make_llama()
    del draft.keys["tokenizer.ggml.token_type"]
    check(draft)


@pytest.mark.parametrize("twin", ["", "\0more"])
def test_a_token_that_occurs_twice_is_refused(draft, check, tmp_path, twin):
    tokens = tokens_of(draft, tmp_path)
    tokens[-1] = tokens[-2] + twin.encode()
    draft.keys["tokenizer.ggml.tokens"] = array(STRING, tokens)
    with pytest.raises(ModelError, match="a token occurs twice"):
        check(draft)


def test_empty_tokens_get_names_of_their_own(draft, check, tmp_path):
    tokens = tokens_of(draft, tmp_path)
    tokens[-1] = tokens[-2] = b""
    draft.keys["tokenizer.ggml.tokens"] = array(STRING, tokens)
    check(draft)


def test_a_token_named_like_an_empty_one_is_refused(draft, check, tmp_path):
    tokens = tokens_of(draft, tmp_path)
    tokens[-2:] = [f"[EMPTY_{len(tokens) - 1}]".encode(), b""]
    draft.keys["tokenizer.ggml.tokens"] = array(STRING, tokens)
    with pytest.raises(ModelError, match="a token occurs twice"):
        check(draft)


@pytest.mark.parametrize("spelling", [b"<0xfg>", b"<0x1>", b"byte", b"<0x0a>", b""])
def test_a_byte_token_must_be_spelled_as_one(draft, check, tmp_path, spelling):
    tokens = tokens_of(draft, tmp_path)
    tokens[tokens.index(b"<0x41>")] = spelling
    draft.keys["tokenizer.ggml.tokens"] = array(STRING, tokens)
    with pytest.raises(ModelError, match=r"a byte token is not spelled <0x\.\.>"):
        check(draft)


def test_a_wordpiece_vocabulary_has_no_byte_tokens(draft, check):
    draft.keys["tokenizer.ggml.model"] = text("bert")
    with pytest.raises(ModelError, match="byte tokens, which"):
        check(draft)
