"""Converted files against what llama.cpp's converter and quantizer make of the same checkpoint."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from g3n_cli.config import EngineSettings
from g3n_cli.convert.plan import write_plan
from g3n_cli.convert.projector import plan_projector
from g3n_cli.convert.repair import write_repaired
from g3n_cli.convert.text import plan_text
from g3n_cli.engine.gguf import GgufArray, GgufFile
from g3n_cli.engine.gguf_writer import ValueType
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.engine.validate import open_model
from g3n_cli.errors import ModelError
from tests.convert.checkpoints import (
    CHECKPOINT,
    DATA,
    FIRST,
    INDEX,
    copy_checkpoint,
    edit_json,
    read_header,
    write_header,
    write_weights,
)
from tests.program import ROOT

EXPECTED = json.loads((DATA / "expected.json").read_text())
QUANTIZE = """
import sys, llama_cpp
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, 1
source, out = map(str.encode, sys.argv[1:])
sys.exit(llama_cpp.llama_model_quantize(source, out, parameters))
"""
LAYER_SCALE = ".layer_scale.gamma"
EPSILON = "clip.audio.attention.layer_norm_epsilon"


def convert(out, name, folder=CHECKPOINT):
    """Make the file that ``name``, such as ``text-f16``, stands for."""
    part, kind = name.split("-")
    write_plan({"text": plan_text, "mmproj": plan_projector}[part](folder, kind), out)
    return GgufFile.open(out)


def read_tensors(gguf):
    """Type, extents and bytes by name."""
    return {
        info.name: (
            info.type.name,
            list(info.ne),
            np.fromfile(gguf.path, np.uint8, info.n_bytes, offset=info.offset).tobytes(),
        )
        for info in gguf.tensors.values()
    }


def digest(tensors):
    return {
        name: [kind, ne, hashlib.sha256(raw).hexdigest()[:16]]
        for name, (kind, ne, raw) in tensors.items()
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_every_tensor_is_that_of_llama_cpps_converter(tmp_path, name):
    gguf = convert(tmp_path / "m.gguf", name)
    found, wanted = digest(read_tensors(gguf)), EXPECTED[name]["tensors"]
    for tensor, (_kind, ne, _hash) in wanted.items():
        if tensor.endswith(LAYER_SCALE):  # of which the converter loses the shape
            assert len(ne) == 1
            wanted[tensor][1] = [1, 1, *ne, 1]
    assert found == wanted


def show(value):
    """A value of a header as ``expected.json`` has it."""
    if not isinstance(value, GgufArray):
        return value
    if value.is_string:
        return [text.decode() for text in value.to_bytes()]
    return value.to_numpy().tolist()


@pytest.mark.parametrize("name", EXPECTED)
def test_every_key_is_that_of_llama_cpps_converter(tmp_path, name):
    gguf = convert(tmp_path / "m.gguf", name)
    wanted = EXPECTED[name]["keys"]
    ours = {"general.name", "general.size_label"}  # made up of the folder's name and a count
    # The converter writes 6144 and 1e-5 whatever the model.
    ours |= {"clip.audio.feed_forward_length", EPSILON}
    for key, (types, value) in wanted.items():
        if key in ours or (name.startswith("mmproj") and "sampling" in key):
            continue
        found = gguf.metadata[key]
        if key.endswith("sparsity_scale"):  # the converter computes it with torch, in float32
            value = pytest.approx(value, rel=1e-6)
        assert show(found) == value, key
        if isinstance(found, GgufArray):
            assert ["ARRAY", ValueType(found.type).name] == types, key
    assert set(gguf.metadata) - set(wanted) == set()


def test_the_audio_epsilon_is_the_models(tmp_path):
    metadata = convert(tmp_path / "m.gguf", "mmproj-f16").metadata
    assert metadata[EPSILON] == np.float32(1e-6)
    assert metadata["clip.audio.feed_forward_length"] == 4 * 32


def test_four_bits_are_those_of_llama_cpps_quantizer(tmp_path):
    source, theirs = tmp_path / "f16.gguf", tmp_path / "theirs.gguf"
    convert(source, "text-f16")
    command = [sys.executable, "-c", QUANTIZE, source, theirs]  # apart: it writes to stderr
    subprocess.run(command, check=True, capture_output=True)
    found = read_tensors(convert(tmp_path / "ours.gguf", "text-q4_0"))
    assert found == read_tensors(GgufFile.open(theirs))
    assert {kind for kind, _, _ in found.values()} == {"F32", "F16", "Q4_0", "Q6_K"}


@pytest.mark.parametrize(("kind", "tolerance"), [("f32", 1e-2), ("bf16", 0.2), ("f16", 3e-2)])
def test_the_text_model_computes_what_transformers_does(tmp_path, kind, tolerance):
    convert(tmp_path / "m.gguf", f"text-{kind}")
    gguf = open_model(tmp_path / "m.gguf")
    settings = EngineSettings(n_ctx=128, n_batch=32, n_threads=1, kv="f32")
    engine = Gemma3nEngine(gguf, HParams.from_gguf(gguf), "tiny", settings)
    with np.load(DATA / "logits.npz") as arrays:
        for i in range(2):
            found = engine.compute_all_logits(Prompt.of_ids(arrays[f"prompt_{i}"]))
            assert np.abs(found - arrays[f"logits_{i}"]).max() <= tolerance
    engine.close()


def test_the_configuration_of_earlier_transformers_gives_the_same_keys(tmp_path):
    folder = copy_checkpoint(tmp_path)

    def change(config):
        text = config["text_config"]
        bases = text.pop("rope_parameters")
        text["rope_theta"] = bases["full_attention"]["rope_theta"]
        text["rope_local_base_freq"] = bases["sliding_attention"]["rope_theta"]
        text["intermediate_size"] = 64

    edit_json(folder / "config.json", change)
    wanted = plan_text(CHECKPOINT, "f16").metadata
    found = plan_text(folder, "f16").metadata
    assert {**found, "general.name": wanted["general.name"]} == wanted


def test_a_text_only_checkpoint_is_converted(tmp_path):
    folder = copy_checkpoint(tmp_path)
    edit_json(
        folder / "config.json",
        lambda c: c.update(c.pop("text_config"), architectures=["Gemma3nForCausalLM"]),
    )
    (folder / INDEX).unlink()
    for path in folder.glob("*.safetensors"):
        table, body = read_header(path)
        text = "model.language_model."
        renamed = {
            name.replace(text, "model."): entry
            for name, entry in table.items()
            if name.startswith(text)
        }
        write_header(path, renamed, body)
    found = read_tensors(convert(tmp_path / "m.gguf", "text-f16", folder))
    assert digest(found) == EXPECTED["text-f16"]["tensors"]
    with pytest.raises(ModelError, match="neither a vision nor an audio part"):
        plan_projector(folder, "f16")


def edit_tensors(folder, change):
    """Change the tables of the checkpoint's files, without an index."""
    (folder / INDEX).unlink(missing_ok=True)
    for path in folder.glob("*.safetensors"):
        table, body = read_header(path)
        write_header(path, change(table), body)


def without(part):
    return lambda table: {name: entry for name, entry in table.items() if part not in name}


def of_type(part, dtype):
    def change(table):
        for name, entry in table.items():
            if part in name:
                entry["dtype"] = dtype
                entry["shape"] = [*entry["shape"][:-1], entry["shape"][-1] * 2]
        return table

    return change


def renamed(part, other):
    return lambda table: {name.replace(part, other): entry for name, entry in table.items()}


@pytest.mark.parametrize(
    ("make", "change", "fault"),
    [
        (plan_text, without("layers.1.mlp.up_proj"), "blk.1.ffn_up.weight is missing"),
        (plan_text, without("altup_projections.1"), "'altup_projections.1' is missing"),
        (plan_text, without("embed_tokens.weight"), "token_embd.weight is missing"),
        (plan_text, of_type("layers.0.mlp.up_proj", "F8_E4M3"), "is of type F8_E4M3"),
        (plan_text, renamed("laurel.linear_left", "laurel.adapter"), "unknown tensor .*adapter"),
        (plan_text, renamed("layers.3", "layers.4"), "blk.3.attn_norm.weight is missing|unknown"),
        (plan_projector, without("conv_0.norm"), "'a.conv1d.0.norm.weight' is missing"),
        (plan_projector, without("conformer.1.norm"), "'a.blk.1.layer_pre_norm.weight' is missing"),
        (plan_projector, without("timm_model.msfa.norm"), "'v.msfa.norm.weight' is missing"),
        (plan_projector, without("blocks.2.5."), "blocks of stage 2"),
        (plan_projector, without("embed_vision.hard"), "'mm.hard_emb_norm.weight' is missing"),
        (plan_projector, of_type("attn.q_proj", "F8_E5M2"), "is of type F8_E5M2"),
        (plan_projector, renamed("pw_exp.bn", "pw_exp.gn"), "unknown tensor .*gn"),
    ],
)
def test_incomplete_or_unknown_tensors_are_named(tmp_path, make, change, fault):
    folder = copy_checkpoint(tmp_path)
    edit_tensors(folder, change)
    with pytest.raises(ModelError, match=fault):
        make(folder, "f16")


def test_a_tensor_under_two_names_is_refused(tmp_path):
    folder = copy_checkpoint(tmp_path)
    (folder / INDEX).unlink()
    write_weights(folder / "a.safetensors", {"model.norm.weight": ("F32", np.zeros(256, "f4"))})
    with pytest.raises(ModelError, match=r"is there as 'model.*norm.weight' too"):
        plan_text(folder, "f16")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c.update(architectures=["LlamaForCausalLM"]), "is LlamaForCausalLM, not Gemma"),
        (lambda c: c.pop("architectures"), "is nothing, not Gemma"),
        (lambda c: c["text_config"].update(head_dim="many"), "head_dim is not a count"),
        (lambda c: c["text_config"].update(num_hidden_layers=5), "not an array of 5"),
        (lambda c: c["text_config"].update(num_hidden_layers=1 << 30), "a count of at most 512"),
        (lambda c: c["text_config"].update(vocab_size=1 << 30), "vocab_size is not a count"),
        (lambda c: c["text_config"].update(intermediate_size=[1 << 40] * 4), "not a list of width"),
        (lambda c: c["text_config"].update(rms_norm_eps=10**400), "rms_norm_eps is not a number"),
        (lambda c: c["text_config"].update(hidden_size=512), "has the shape"),
        (lambda c: c["text_config"].update(altup_num_inputs=1), "altup_num_inputs is not more"),
        (lambda c: c["text_config"].update(layer_types=3), "layer_types is not a list"),
        (
            lambda c: c["text_config"]["rope_parameters"]["full_attention"].update(
                rope_type="yarn"
            ),
            "rope_type is not 'default'",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, change, fault):
    folder = copy_checkpoint(tmp_path)
    edit_json(folder / "config.json", change)
    with pytest.raises(ModelError, match=fault):
        plan_text(folder, "f16")


def test_audio_shapes_are_checked(tmp_path):
    folder = copy_checkpoint(tmp_path)
    edit_json(folder / "config.json", lambda c: c["audio_config"].update(hidden_size=64))
    with pytest.raises(ModelError, match="has the shape"):
        plan_projector(folder, "f16")


@pytest.mark.parametrize(("value", "kind"), [(0x7F80, "bf16"), (0x7FC0, "q4_0"), (0x4780, "f16")])
def test_values_a_type_cannot_hold_are_refused(tmp_path, value, kind):
    """Infinity, NaN, and 65536, the first value above F16."""
    folder = copy_checkpoint(tmp_path)
    table, body = read_header(folder / FIRST)
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    at = table[name]["data_offsets"][0]
    body = body[:at] + value.to_bytes(2, "little") + body[at + 2 :]
    write_header(folder / FIRST, table, body)
    with pytest.raises(ModelError, match=r"up_proj.weight' has values that"):
        convert(tmp_path / "m.gguf", f"text-{kind}", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupt(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_plan(plan_text(CHECKPOINT, "q4_0"), tmp_path / "m.gguf", interrupt)
    assert not list(tmp_path.iterdir())


CONVERTED_AND_INTERRUPTED = """
import random, signal, tempfile, time
from pathlib import Path
from g3n_cli.convert.plan import write_plan
from g3n_cli.convert.text import plan_text
from tests.convert.checkpoints import CHECKPOINT

signal.signal(signal.SIGALRM, signal.default_int_handler)
random.seed(0)
plan, n_interrupted = plan_text(CHECKPOINT, "q8_0"), 0
with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "m.gguf"
    started = time.perf_counter()
    write_plan(plan, out)
    whole_s, wanted = time.perf_counter() - started, out.read_bytes()
    for _ in range(500):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, whole_s))
            try:
                for _ in range(4):
                    write_plan(plan, out)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            n_interrupted += 1
        assert [path.name for path in Path(folder).iterdir()] == ["m.gguf"]
        assert out.read_bytes() == wanted
print(n_interrupted)
"""


def test_an_interrupt_at_any_moment_of_converting_leaves_nothing_locked():
    done = subprocess.run(
        [sys.executable, "-c", CONVERTED_AND_INTERRUPTED],
        capture_output=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 100


def test_a_projector_of_llama_cpps_converter_is_repaired(tmp_path):
    whole = plan_projector(CHECKPOINT, "f16")
    flat = [
        type(part)(type(spec)(spec.name, spec.type, (spec.ne[2],)), part.sources)
        if (spec := part.spec).name.endswith(LAYER_SCALE)
        else part
        for part in whole.parts
    ]
    write_plan(type(whole)({**whole.metadata, EPSILON: 1e-5}, tuple(flat)), tmp_path / "bad.gguf")
    bad = GgufFile.open(tmp_path / "bad.gguf")
    assert {len(i.ne) for i in bad.tensors.values() if i.name.endswith(LAYER_SCALE)} == {1}
    write_repaired(bad, tmp_path / "repaired.gguf")
    write_plan(whole, tmp_path / "good.gguf")
    assert (tmp_path / "repaired.gguf").read_bytes() == (tmp_path / "good.gguf").read_bytes()
