import pytest

from g3n_cli.engine.gguf import GgufFile, row_bytes
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import KvCache
from g3n_cli.engine.summary import KvUse, compute_kv_bytes, summarize
from g3n_cli.ggml.library import load
from tests.gguf_edit import F32, STRING, U32, Draft, array, read_draft, scalar, text
from tests.oracle import CASES, find_case
from tests.tiny_llama import make_llama


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_parts_add_up_to_the_tensors_of_the_file(case):
    gguf = GgufFile.open(case.path)
    summary = summarize(gguf)
    total = sum(info.n_bytes for info in gguf.tensors.values())
    parts = (summary.ple_bytes, summary.layer_bytes, summary.embedding_bytes, summary.other_bytes)
    assert sum(parts) == total
    assert sum(use.n_bytes for use in summary.types) == total
    assert sum(use.n_tensors for use in summary.types) == len(gguf.tensors)
    assert summary.gemma3n.ram_bytes + summary.gemma3n.disk_bytes == total
    assert total < summary.file_bytes == case.path.stat().st_size


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_table_is_one_row_of_all_layers_for_each_token(case):
    gguf = GgufFile.open(case.path)
    hparams = HParams.from_gguf(gguf)
    kind = gguf.tensors["per_layer_token_embd.weight"].type
    row = row_bytes(kind, hparams.n_ple * hparams.n_layer)
    assert summarize(gguf).ple_bytes == row * hparams.n_vocab


@pytest.mark.parametrize(
    ("kind", "n_layer", "wanted"),
    [
        (GgmlType.Q4_K, 30, 1_132_462_080),
        (GgmlType.Q6_K, 30, 1_651_507_200),
        (GgmlType.Q8_0, 30, 2_139_095_040),
        (GgmlType.Q4_0, 35, 1_321_205_760),
        (GgmlType.F16, 35, 4_697_620_480),
    ],
)
def test_rows_of_the_real_tables_have_their_known_size(kind, n_layer, wanted):
    assert row_bytes(kind, 256 * n_layer) * 262_144 == wanted


def test_numbers_of_a_gemma3n_file_are_those_of_its_header():
    summary = summarize(GgufFile.open(find_case("odd7", "q8_0").path))
    assert (summary.name, summary.architecture) == ("odd7", "gemma3n")
    assert (summary.n_layer, summary.n_embd, summary.n_vocab) == (7, 96, 512)
    assert (summary.n_head, summary.n_head_kv, summary.n_ff) == ((3,), (1,), (160,))
    assert (summary.n_ctx_train, summary.n_swa, summary.n_shared_kv) == (2048, 20, 2)
    assert summary.gemma3n.unused_bytes == 0


def test_keys_and_values_of_shared_layers_stay_on_disk(tmp_path):
    draft = read_draft(find_case("noshare5", "q8_0").path)
    draft.keys["gemma3n.attention.shared_kv_layers"] = scalar(U32, 1)
    draft.keys["gemma3n.attention.sliding_window_pattern"] = array(U32, [1, 0, 1, 1, 0])
    gguf = GgufFile.open(draft.write(tmp_path / "model.gguf"))
    use = summarize(gguf).gemma3n
    last = [f"blk.4.{part}.weight" for part in ("attn_k", "attn_v", "attn_k_norm")]
    assert use.unused_bytes == sum(gguf.tensors[name].n_bytes for name in last) > 0
    assert use.disk_bytes == use.unused_bytes + summarize(gguf).ple_bytes


@pytest.mark.parametrize("n_ctx", [16, 256, 2048])
@pytest.mark.parametrize("model", ["noshare5", "odd7", "small8"])
def test_kv_bytes_are_what_the_cache_takes(model, n_ctx):
    hparams = HParams.from_gguf(GgufFile.open(find_case(model, "q8_0").path))
    cache = KvCache(hparams, n_ctx, 64, "f16")
    tensors = [*cache.keys.values(), *cache.values.values()]
    n_bytes = sum(load().nbytes(tensor.ptr) for tensor in tensors)
    cache.close()
    assert compute_kv_bytes(hparams, n_ctx, n_batch=64) == n_bytes


def test_kv_is_told_for_the_usual_and_the_full_context(tmp_path):
    draft = read_draft(find_case("odd7", "q8_0").path)
    draft.keys["gemma3n.context_length"] = scalar(U32, 32768)
    gguf = GgufFile.open(draft.write(tmp_path / "model.gguf"))
    # Layers 0, 1, 3, 4 slide (20 + 256 + 3 rows), layer 2 is full; a row is 32 + 32 float16 values.
    assert summarize(gguf).gemma3n.kv == (
        KvUse(4096, (4 * 279 + 4096) * 128),
        KvUse(32768, (4 * 279 + 32768) * 128),
    )


def test_other_architectures_have_no_gemma3n_part(tmp_path):
    summary = summarize(GgufFile.open(make_llama().write(tmp_path / "model.gguf")))
    assert (summary.gemma3n, summary.ple_bytes, summary.n_swa) == (None, 0, None)
    assert (summary.name, summary.n_layer, summary.n_vocab) == ("Tiny llama", 2, 264)


def test_what_a_file_does_not_tell_is_left_out(tmp_path):
    keys = {
        "general.architecture": text("llama"),
        "llama.block_count": text("two"),
        "llama.attention.head_count": array(U32, [4, 4]),
        "llama.attention.head_count_kv": array(U32, [4, 2]),
        "llama.feed_forward_length": array(F32, [0.5]),
        "llama.embedding_length": array(STRING, ["a"]),
    }
    summary = summarize(GgufFile.open(Draft(keys).write(tmp_path / "bare.gguf")))
    assert (summary.name, summary.n_layer, summary.n_embd, summary.n_ff) == ("bare", None, None, ())
    assert (summary.n_head, summary.n_head_kv, summary.types) == ((4,), (4, 2), ())
