"""Projector files that are wrong are refused; none takes the process down."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from g3n_cli.engine.encoders.audio_file import AudioFile
from g3n_cli.engine.encoders.mmproj import open_mmproj
from g3n_cli.errors import InputError, ModelError
from tests.engine.encoders.audio_oracle import F16_FILE, F32_FILE
from tests.gguf_edit import BOOL, U32, find_fields, read_draft, scalar, text
from tests.model_files import SMALL8

NUMBERS = (0, 1, 2, 3, 7, 31, 64, 65, 255, 2**31 - 1, 2**32 - 1)


def open_audio(path):
    return AudioFile.from_mmproj(open_mmproj(path))


def test_the_oracles_file():
    file = open_audio(F32_FILE)
    assert (file.n_layer, file.n_embd, file.n_head, file.n_text) == (3, 64, 4, 96)
    assert file.mmproj.has_audio
    assert not file.mmproj.has_vision


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a.blk.1.per_dim_scale", "a.blk.1.per_dim_scale.weight"),
        ("a.blk.0.linear_pos.weight", "a.blk.0.attn_k_rel.weight"),
        ("a.blk.2.ln1.weight", "a.blk.2.attn_pre_norm.weight"),
        ("a.pre_encode.out.weight", "a.input_projection.weight"),
    ],
)
def test_names_of_other_converters_are_known(tmp_path, old, new):
    draft = read_draft(F32_FILE)
    draft.change(old, name=new)
    assert open_audio(draft.write(tmp_path / "a.gguf")).n_layer == 3


def test_extents_of_one_do_not_matter(tmp_path):
    draft = read_draft(F32_FILE)
    draft.change("a.blk.0.conv_dw.weight", ne=(5, 64))
    assert open_audio(draft.write(tmp_path / "a.gguf")).n_layer == 3


def test_a_text_model_is_no_projector():
    with pytest.raises(ModelError, match="holds gemma3n, not an encoder"):
        open_mmproj(SMALL8)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clip.has_audio_encoder", scalar(BOOL, False)),
        ("clip.audio.projector_type", text("gemma4a")),
    ],
)
def test_a_file_without_audio_is_told(tmp_path, key, value):
    draft = read_draft(F32_FILE)
    draft.keys[key] = value
    with pytest.raises(InputError, match="this model has no audio encoder") as failure:
        open_audio(draft.write(tmp_path / "a.gguf"))
    assert "g3n convert" in failure.value.hint


@pytest.mark.parametrize("name", [t.name for t in read_draft(F32_FILE).tensors])
def test_every_tensor_is_needed_in_its_shape(tmp_path, name):
    draft = read_draft(F32_FILE)
    tensor = draft.tensor(name)
    draft.change(name, ne=(*tensor.ne[:-1], tensor.ne[-1] + 32), data=tensor.data * 33)
    if name != "mm.a.input_projection.weight":  # the width of the text model is free
        with pytest.raises(ModelError, match="shape"):
            open_audio(draft.write(tmp_path / "a.gguf"))
    draft.drop(name)
    with pytest.raises(ModelError, match="missing"):
        open_audio(draft.write(tmp_path / "a.gguf"))


def test_types_that_no_encoder_has_are_refused(tmp_path):
    draft = read_draft(F32_FILE)
    draft.change("a.blk.0.attn_q.weight", type=26)  # I32
    with pytest.raises(ModelError, match="type I32"):
        open_audio(draft.write(tmp_path / "a.gguf"))


@pytest.mark.parametrize("source", [F32_FILE, F16_FILE], ids=["f32", "f16"])
def test_no_mutant_takes_the_process_down(tmp_path, source):
    paths = [tmp_path / f"{i}.gguf" for i in range(120)]
    rng, raw = random.Random(0), source.read_bytes()
    fields = find_fields(raw)
    for path in paths[:80]:
        mutant = bytearray(raw)
        match rng.randrange(3):
            case 0:
                del mutant[rng.randrange(len(raw)) :]
            case 1:
                field = rng.choice([f for f in fields if f.is_integer])
                size = field.end - field.start
                number = rng.choice(NUMBERS) % (1 << (8 * size))
                mutant[field.start : field.end] = number.to_bytes(size, "little")
            case _:
                mutant[rng.randrange(len(raw))] = rng.randrange(256)
        path.write_bytes(mutant)
    for path in paths[80:]:
        draft = read_draft(source)
        key = rng.choice([name for name in draft.keys if name.startswith("clip.audio")])
        draft.keys[key] = scalar(U32, rng.choice(NUMBERS))
        tensor = rng.choice(draft.tensors)
        ne = list(tensor.ne)
        ne[rng.randrange(len(ne))] = rng.choice((1, 2, 16, 32, 48, 96))
        draft.change(tensor.name, ne=tuple(ne), type=rng.choice((0, 1, 8, 30)))
        draft.write(path)
    answers = run_worker(paths)
    assert len(answers) == len(paths), f"{paths[len(answers)]} took the process down"
    for path, answer in zip(paths, answers, strict=True):
        assert answer == "ok" or answer.startswith("refused: "), (path, answer)


def run_worker(paths: list[Path]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_worker", "audio"],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout.splitlines()
