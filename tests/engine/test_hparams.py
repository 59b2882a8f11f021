import math

import pytest

from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import DEFAULT_ROPE_BASE_SWA, DEFAULT_SOFTCAP, HParams
from g3n_cli.errors import ModelError
from tests.gguf_edit import BOOL, F32, I32, STRING, U32, U64, Draft, array, read_draft, scalar, text
from tests.oracle import find_case

N_LAYER = 7  # of odd7: layers 2 and 5 are full, 5 and 6 shared
COUNTS = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.sliding_window",
    "attention.shared_kv_layers",
    "altup.num_inputs",
    "altup.active_idx",
    "embedding_length_per_layer_input",
)
NUMBERS = ("attention.layer_norm_rms_epsilon", "rope.freq_base")
LISTS = ("activation_sparsity_scale", "attention.sliding_window_pattern")
OPTIONAL = {
    "rope.freq_base_swa": ("rope_base_swa", DEFAULT_ROPE_BASE_SWA),
    "final_logit_softcapping": ("softcap", DEFAULT_SOFTCAP),
}


def load(model: str = "odd7") -> HParams:
    return HParams.from_gguf(GgufFile.open(find_case(model, "q8_0").path))


@pytest.fixture
def draft() -> Draft:
    """The header of a good file, without its tensors."""
    return Draft(read_draft(find_case("odd7", "q8_0").path).keys)


@pytest.fixture
def read(tmp_path):
    def read(draft: Draft) -> HParams:
        return HParams.from_gguf(GgufFile.open(draft.write(tmp_path / "model.gguf")))

    return read


def test_the_tiny_model_has_the_numbers_it_was_made_with():
    hparams = load()
    assert (hparams.n_layer, hparams.n_embd, hparams.n_head, hparams.n_head_kv) == (7, 96, 3, 1)
    assert hparams.n_ff == (160,) * 7
    assert (hparams.n_swa, hparams.n_altup, hparams.n_ple, hparams.n_vocab) == (20, 4, 16, 512)
    assert hparams.is_swa == (True, True, False, True, True, False, True)
    assert (hparams.rope_base, hparams.rope_base_swa, hparams.softcap) == (1e6, 1e4, 30)


@pytest.mark.parametrize(
    ("model", "sources"),
    [
        ("noshare5", (0, 1, 2, 3, 4)),
        ("odd7", (0, 1, 2, 3, 4, 2, 4)),
    ],
)
def test_shared_layers_read_the_last_owner_of_their_kind(model, sources):
    assert load(model).kv_source == sources


def test_every_shared_layer_reads_an_owner_that_slides_as_it_does():
    hparams = load("small8")
    for layer, source in enumerate(hparams.kv_source):
        assert source < hparams.n_layer_kv
        assert hparams.is_swa[source] == hparams.is_swa[layer]


def test_minus_infinity_makes_a_layer_dense():
    sparsity = load().sparsity
    assert None in sparsity
    assert all(value is None or math.isfinite(value) for value in sparsity)


def test_another_architecture_is_named(draft, read):
    draft.keys["general.architecture"] = text("llama")
    with pytest.raises(ModelError, match="holds 'llama', not gemma3n"):
        read(draft)


@pytest.mark.parametrize("name", COUNTS + NUMBERS + LISTS)
def test_a_missing_key_is_named(draft, read, name):
    del draft.keys[f"gemma3n.{name}"]
    with pytest.raises(ModelError, match=rf"gemma3n\.{name}: the key is missing"):
        read(draft)


@pytest.mark.parametrize("key", OPTIONAL)
def test_an_optional_key_has_a_default(draft, read, key):
    draft.keys.pop(f"gemma3n.{key}", None)
    attribute, value = OPTIONAL[key]
    assert getattr(read(draft), attribute) == value


@pytest.mark.parametrize(
    "value",
    [
        scalar(U32, 2**32 - 1),
        scalar(I32, -1),
        scalar(U64, 2**60),
        scalar(F32, 0.5),
        scalar(F32, math.nan),
        scalar(F32, math.inf),
        scalar(BOOL, True),
        text("4"),
        array(STRING, ["4"]),
        array(U32, [1] * (N_LAYER + 1)),
    ],
)
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_makes_no_sense_is_named(draft, read, name, value):
    draft.keys[f"gemma3n.{name}"] = value
    with pytest.raises(ModelError, match=rf"gemma3n\.{name}: "):
        read(draft)


@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", [*NUMBERS, *OPTIONAL])
def test_a_number_that_makes_no_sense_is_named(draft, read, name, number):
    draft.keys[f"gemma3n.{name}"] = scalar(F32, number)
    with pytest.raises(ModelError, match=rf"gemma3n\.{name}: .* is not a number above 0"):
        read(draft)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation_sparsity_scale", array(F32, [math.nan] * N_LAYER)),
        ("activation_sparsity_scale", array(F32, [math.inf] * N_LAYER)),
        ("activation_sparsity_scale", array(F32, [0.0] * (N_LAYER - 1))),
        ("activation_sparsity_scale", scalar(F32, 0.0)),
        ("attention.sliding_window_pattern", array(U32, [0, 1, 2, 0, 0, 0, 0])),
        ("attention.sliding_window_pattern", array(BOOL, [True] * (N_LAYER + 1))),
        ("attention.sliding_window_pattern", array(STRING, ["1"] * N_LAYER)),
        ("attention.sliding_window_pattern", scalar(U32, 5)),
    ],
)
def test_a_list_that_makes_no_sense_is_named(draft, read, name, value):
    draft.keys[f"gemma3n.{name}"] = value
    with pytest.raises(ModelError, match=rf"gemma3n\.{name}: "):
        read(draft)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("attention.shared_kv_layers", N_LAYER, "not between 0 and 6"),
        ("attention.shared_kv_layers", 5, "no layer to read"),  # of two sliding layers
        ("attention.head_count", 0, "not between"),
        ("attention.key_length", 31, "odd"),
        ("attention.sliding_window", 0, "not between"),
        ("attention.sliding_window", 2049, "not between 1 and 2048"),
        ("altup.num_inputs", 1, "not between 2 and 16"),
        ("altup.active_idx", 1, "only 0 is supported"),
        ("block_count", 513, "not between 1 and 512"),
    ],
)
def test_bounds_that_depend_on_other_keys_hold(draft, read, name, value, fault):
    draft.keys[f"gemma3n.{name}"] = scalar(U32, value)
    with pytest.raises(ModelError, match=rf"gemma3n\.{name}: .*{fault}"):
        read(draft)


def test_heads_must_divide_by_key_heads(draft, read):
    draft.keys["gemma3n.attention.head_count_kv"] = scalar(U32, 2)
    with pytest.raises(ModelError, match="no multiple of head_count_kv"):
        read(draft)


@pytest.mark.parametrize("window", [1, 2048])
def test_the_window_may_be_as_small_as_one_and_as_large_as_the_context(draft, read, window):
    draft.keys["gemma3n.attention.sliding_window"] = scalar(U32, window)
    assert read(draft).n_swa == window


@pytest.mark.parametrize("kind", [U32, I32, U64, F32])
def test_counts_are_read_from_whichever_type_a_file_uses(draft, read, kind):
    wanted = read(draft)
    for name in COUNTS:
        if name != "feed_forward_length":
            value = int.from_bytes(draft.keys[f"gemma3n.{name}"][4:8], "little")
            draft.keys[f"gemma3n.{name}"] = scalar(kind, value)
    assert read(draft) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (scalar(U32, 160), (160,) * N_LAYER),
        (array(U32, range(1, 8)), tuple(range(1, 8))),
        (array(F32, range(1, 8)), tuple(range(1, 8))),
    ],
)
def test_ffn_widths_are_one_for_all_layers_or_one_by_layer(draft, read, value, wanted):
    draft.keys["gemma3n.feed_forward_length"] = value
    assert read(draft).n_ff == wanted


def test_the_pattern_may_be_booleans_or_numbers(draft, read):
    wanted = read(draft).is_swa
    for kind in (BOOL, U32, I32):
        draft.keys["gemma3n.attention.sliding_window_pattern"] = array(kind, wanted)
        assert read(draft).is_swa == wanted


@pytest.mark.parametrize("value", [None, scalar(U32, 3), array(U32, [1]), array(STRING, [])])
def test_a_file_without_a_list_of_tokens_is_refused(draft, read, value):
    del draft.keys["tokenizer.ggml.tokens"]
    if value is not None:
        draft.keys["tokenizer.ggml.tokens"] = value
    with pytest.raises(ModelError, match=r"tokenizer\.ggml\.tokens is not a list of tokens"):
        read(draft)
