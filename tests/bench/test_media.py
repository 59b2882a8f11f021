import numpy as np
import pytest

from g3n_cli.bench.case import BenchModel, Case, Sweep
from g3n_cli.bench.media import Medium, load_medium, make_picture, make_sound, parse_media
from g3n_cli.config import EngineSettings
from g3n_cli.errors import InputError, UsageError
from tests.media_files import encode, encode_video, encode_wav, make_tone
from tests.media_files import make_picture as draw

SIZES = [768]


def test_what_is_made_is_the_same_for_equal_seeds_and_another_for_others():
    for make, size in ((make_sound, 2), (make_picture, 64)):
        np.testing.assert_array_equal(make(size, 1), make(size, 1))
        assert not np.array_equal(make(size, 1), make(size, 2))


def test_a_made_sound_is_heard_and_a_made_picture_is_not_grey():
    sound, picture = make_sound(3, 0), make_picture(256, 0)
    assert (sound.shape, sound.dtype, np.abs(sound).max() <= 1) == ((48_000,), np.float32, True)
    assert np.sqrt(np.mean(sound**2)) > 0.01
    assert (picture.shape, picture.dtype) == ((256, 256, 3), np.uint8)
    assert np.all(picture.std(axis=(0, 1)) > 20)


def test_media_are_listed_by_name_and_each_once(tmp_path):
    (tmp_path / "tone.wav").write_bytes(encode_wav(make_tone(40)))
    (tmp_path / "photo.png").write_bytes(encode(draw(), "PNG"))
    text = f"none,audio,image,{tmp_path}/tone.wav,{tmp_path}/photo.png,audio"
    found = parse_media(text, SIZES)
    assert [each and each.name for each in found] == [
        *(None, "audio", "image", "tone.wav", "photo.png")
    ]
    assert [each.n_positions for each in found[1:]] == [189, 257, 2 * 189, 257]
    assert [each.kinds for each in found[1:]] == [("audio",), ("image",)] * 2


def test_files_that_are_called_alike_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").write_bytes(encode_wav(make_tone(1)))
    paths = [f"{tmp_path}/{folder}/x.wav" for folder in ("a", "b")]
    assert [each.name for each in parse_media(",".join(paths), SIZES)] == paths


def test_pictures_come_in_each_size_and_sound_once(tmp_path):
    found = parse_media("image,audio", [768, 256])
    assert [(each.name, each.image_size) for each in found] == [
        *(("image", 768), ("image", 256), ("audio", 768))
    ]
    assert load_medium(found[1], 0).parts[0].values.shape == (256, 256, 3)
    (tmp_path / "photo.png").write_bytes(encode(draw(), "PNG"))
    (photo,) = parse_media(f"{tmp_path}/photo.png", [512])
    assert load_medium(photo, 0).parts[0].values.shape == (512, 512, 3)


def test_a_video_needs_both_encoders_and_has_no_rate_of_sound(tmp_path):
    path = encode_video(tmp_path / "v.mp4", [10, 200] * 10, sound=make_tone(2))
    (video,) = parse_media(str(path), SIZES)
    assert video.kinds == ("audio", "image")
    assert load_medium(video, 0).sound_s is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("a.txt", b"text", "neither pictures nor sound"), ("a.png", b"text", "a.png")],
)
def test_files_that_cannot_be_encoded_are_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        parse_media(str(tmp_path / name), SIZES)


def test_an_empty_name_is_refused():
    with pytest.raises(UsageError, match="empty"):
        parse_media("audio,", SIZES)


def test_a_medium_is_an_axis_of_a_sweep(tmp_path):
    media = [None, Medium("audio", None, ("audio",), 189)]
    model = BenchModel("tiny", tmp_path / "tiny.gguf", tmp_path / "mmproj.gguf")
    base = EngineSettings(n_threads=1)
    cases = Sweep([model], [8], [4], [0, 16], base, media=media).expand()
    assert [case.label for case in cases] == [
        *("pp8+tg4", "pp8+tg4 @ d16", "audio+pp8+tg4", "audio+pp8+tg4 @ d16")
    ]
    assert [case.settings.n_ctx for case in cases] == [12, 28, 201, 217]
    assert cases[2].files == [model.path, model.mmproj]
    assert cases[2].recorded_settings["mmproj"] == "mmproj.gguf"
    assert "mmproj" not in cases[0].recorded_settings
    assert Case.from_json(cases[2].to_json(), ()) == cases[2]
