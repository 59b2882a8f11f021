import math

import numpy as np
import pytest
from gguf import GGUFReader

from g3n_cli.bench.synthetic import SHAPES, list_tensors, make_model
from g3n_cli.bench.vocabulary import TokenKind, make_vocabulary
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.gguf_writer import GgufWriter
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.validate import check_tokenizer, open_model
from g3n_cli.errors import ModelError

QUANTS = ("q4_0", "q4_k_m", "q8_0", "f16")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    paths = {quant: folder / f"{quant}.gguf" for quant in QUANTS}
    for quant, path in paths.items():
        make_model("tiny", quant, path)
    return paths


def types_of(shape, quant):
    return {t.name.removesuffix(".weight"): t.type.name for t in list_tensors(SHAPES[shape], quant)}


@pytest.mark.parametrize(
    ("shape", "n_tensors", "n_values"),
    [("e2b", 727, 4_455_632_480), ("e4b", 847, 6_866_172_400), ("gemma3-4b", 444, 3_880_099_328)],
)
def test_real_shapes_have_the_real_tensors(shape, n_tensors, n_values):
    tensors = list_tensors(SHAPES[shape], "q4_0")
    assert len(tensors) == n_tensors
    assert sum(math.prod(t.ne) for t in tensors) == n_values


def test_e2b_tensors_have_the_published_shapes():
    shapes = {t.name: t.ne for t in list_tensors(SHAPES["e2b"], "q4_0")}
    assert shapes["per_layer_token_embd.weight"] == (7680, 262144)
    assert shapes["per_layer_model_proj.weight"] == (2048, 7680)
    assert shapes["altup_proj.weight"] == (2048, 2048, 3)
    assert shapes["blk.29.ffn_down.weight"] == (8192, 2048)
    assert shapes["blk.29.attn_k.weight"] == (2048, 512)
    assert shapes["blk.29.laurel_r.weight"] == (64, 2048)
    assert shapes["blk.29.altup_predict_coef.weight"] == (4, 16)


def test_q4_0_mixes_types_as_public_files_do():
    types = types_of("e2b", "q4_0")
    assert types["token_embd"] == types["per_layer_token_embd"] == "Q6_K"
    assert types["per_layer_model_proj"] == types["altup_unembd_proj"] == "F16"
    assert types["blk.3.laurel_l"] == types["blk.3.altup_router"] == "F16"
    assert types["blk.3.altup_correct_coef"] == types["blk.3.altup_correct_scale"] == "F32"
    assert types["blk.3.attn_q_norm"] == types["output_norm"] == "F32"
    assert types["blk.3.attn_q"] == types["blk.3.ffn_down"] == types["blk.3.inp_gate"] == "Q4_0"


def test_q4_k_m_keeps_half_of_two_kinds_at_six_bits():
    types = types_of("e2b", "q4_k_m")
    wide = [layer for layer in range(30) if types[f"blk.{layer}.ffn_down"] == "Q6_K"]
    assert wide == [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]
    assert wide == [layer for layer in range(30) if types[f"blk.{layer}.attn_v"] == "Q6_K"]
    assert types["blk.0.ffn_up"] == "Q4_K"


@pytest.mark.parametrize("quant", QUANTS)
def test_a_file_reads_back_as_its_table_says(tiny, quant):
    found = GGUFReader(tiny[quant]).tensors
    table = list_tensors(SHAPES["tiny"], quant)
    assert [(t.name, tuple(t.shape), int(t.tensor_type)) for t in found] == [
        (t.name, t.ne, t.type) for t in table
    ]


def test_keys_are_those_of_public_files(tiny):
    fields = GGUFReader(tiny["q4_0"]).fields
    read = {
        key.removeprefix("gemma3n."): (
            [kind.name for kind in field.types],
            field.contents(),
        )
        for key, field in fields.items()
        if key.startswith("gemma3n.")
    }
    sparsity = [1.6448533535003662] * 10 + [float("-inf")] * 20
    assert read == {
        "block_count": (["UINT32"], 30),
        "context_length": (["UINT32"], 32768),
        "embedding_length": (["UINT32"], 256),
        "feed_forward_length": (["ARRAY", "INT32"], [512] * 30),
        "attention.head_count": (["UINT32"], 2),
        "attention.head_count_kv": (["UINT32"], 1),
        "attention.key_length": (["UINT32"], 128),
        "attention.value_length": (["UINT32"], 128),
        "attention.layer_norm_rms_epsilon": (["FLOAT32"], pytest.approx(1e-6)),
        "attention.sliding_window": (["UINT32"], 32),
        "attention.sliding_window_pattern": (
            ["ARRAY", "BOOL"],
            [True, True, True, True, False] * 6,
        ),
        "attention.shared_kv_layers": (["UINT32"], 10),
        "altup.num_inputs": (["UINT32"], 4),
        "altup.active_idx": (["UINT32"], 0),
        "embedding_length_per_layer_input": (["UINT32"], 256),
        "activation_sparsity_scale": (["ARRAY", "FLOAT32"], sparsity),
        "rope.freq_base": (["FLOAT32"], 1_000_000.0),
        "rope.freq_base_swa": (["FLOAT32"], 10_000.0),
        "final_logit_softcapping": (["FLOAT32"], 30.0),
    }
    assert fields["general.architecture"].contents() == "gemma3n"
    assert fields["general.file_type"].contents() == 2


def test_equal_seeds_write_equal_files(tmp_path, tiny):
    make_model("tiny", "q4_0", tmp_path / "again.gguf", seed=0)
    make_model("tiny", "q4_0", tmp_path / "other.gguf", seed=1)
    assert (tmp_path / "again.gguf").read_bytes() == tiny["q4_0"].read_bytes()
    assert (tmp_path / "other.gguf").read_bytes() != tiny["q4_0"].read_bytes()


def test_a_donor_gives_its_whole_tokenizer(tmp_path):
    table = make_vocabulary(600, seed=3).metadata() | {"general.architecture": "gemma3n"}
    with GgufWriter(tmp_path / "donor.gguf", table, []):
        pass
    make_model("tiny", "f16", tmp_path / "m.gguf", vocabulary_donor=tmp_path / "donor.gguf")
    made = GgufFile.open(tmp_path / "m.gguf")
    assert {key: made.metadata[key] for key in table} == table
    assert made.tensors["per_layer_token_embd.weight"].ne == (7680, 600)


def test_a_donor_without_a_vocabulary_is_refused(tmp_path):
    with GgufWriter(tmp_path / "donor.gguf", {"general.architecture": "clip"}, []):
        pass
    with pytest.raises(ModelError, match="no vocabulary"):
        make_model("tiny", "f16", tmp_path / "m.gguf", vocabulary_donor=tmp_path / "donor.gguf")


@pytest.mark.parametrize("quant", QUANTS)
def test_g3n_accepts_the_file(tiny, quant):
    gguf = open_model(tiny[quant])
    check_tokenizer(gguf)
    assert HParams.from_gguf(gguf).n_layer == 30


@pytest.mark.parametrize("quant", QUANTS)
def test_llama_cpp_computes_finite_logits_that_depend_on_the_prompt(tiny, quant):
    import llama_cpp

    llama = llama_cpp.Llama(str(tiny[quant]), n_ctx=64, n_threads=1, verbose=False)
    rows = []
    for ids in ([600, 700, 800], [601, 700, 800]):
        llama.reset()
        llama.eval(ids)
        logits = llama_cpp.llama_get_logits(llama.ctx)
        rows.append(np.ctypeslib.as_array(logits, (llama.n_vocab(),)).copy())
    llama.close()
    assert np.isfinite(rows).all()
    assert 0.01 < np.std(rows[0]) < 10
    assert np.abs(rows[0] - rows[1]).max() > 0.01


@pytest.mark.parametrize(("n_vocab", "start_of_image"), [(1024, 1022), (262_144, 255_999)])
def test_vocabulary_has_gemmas_special_tokens(n_vocab, start_of_image):
    vocabulary = make_vocabulary(n_vocab)
    tokens = vocabulary.tokens
    assert len(set(tokens)) == len(vocabulary.scores) == len(vocabulary.kinds) == n_vocab
    assert tokens[:5] == ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    assert tokens[105:110] == ["<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "\n\n\n"]
    assert tokens[238] == "<0x00>"
    assert tokens[493] == "<0xFF>"
    media = slice(start_of_image, start_of_image + 2)
    assert tokens[media] == ["<start_of_image>", "<start_of_audio>"]
    assert vocabulary.kinds[media] == [TokenKind.CONTROL] * 2


def test_llama_cpp_tokenizes_with_the_vocabulary(tiny):
    import llama_cpp

    llama = llama_cpp.Llama(str(tiny["q4_0"]), vocab_only=True, verbose=False)
    text = "Hello there,\n\nGr\u00fc\u00dfe  5"
    ids = llama.tokenize(text.encode(), add_bos=True)
    assert ids[0] == llama.token_bos() == 2
    assert llama.token_eos() == 1
    assert 108 in ids
    assert len(ids) < len(text)
    assert llama.detokenize(ids[1:]).decode() == text
    turn = llama.tokenize(b"<start_of_turn>user\n", add_bos=False, special=True)
    assert turn[0] == 105
    assert turn[-1] == 107
    llama.close()


def test_words_of_a_full_vocabulary_merge_into_long_pieces():
    vocabulary = make_vocabulary(262_144)
    known = set(vocabulary.tokens)
    words = [
        token for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True) if kind == 1
    ]
    assert all(
        any(w[:i] in known and w[i:] in known for i in range(1, len(w)))
        for w in words
        if len(w) > 1
    )
    assert 5 < sum(map(len, words)) / len(words) < 8
