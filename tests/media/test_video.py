import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3n_cli.errors import InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import TextPart
from g3n_cli.media.source import Source
from g3n_cli.media.video import SCENE_CHANGE, Frame, choose_frames, read_sound_or_video
from tests.media_files import encode_video, make_tone


def read(path, **options):
    options = MediaOptions(**{"image_size": 16, **options})
    return read_sound_or_video(Source.of_path(path), options, is_certain=True)


def show(attachment):
    """Times, brightness of pictures, seconds of sound."""
    return [
        part.text
        if isinstance(part, TextPart)
        else int(part.values.mean())
        if part.kind == "image"
        else round(len(part.values) / 16_000)
        for part in attachment.parts
    ]


@pytest.fixture(scope="module")
def three_scenes(tmp_path_factory):
    """9 seconds: 6 black, 1 gray, 2 white, with a tone."""
    brightness = [0] * 60 + [128] * 10 + [255] * 20
    return encode_video(tmp_path_factory.mktemp("v") / "v.mp4", brightness, sound=make_tone(9))


def test_frames_and_sound_come_in_order_of_time(three_scenes):
    shown = show(read(three_scenes, fps=0.5))
    assert shown[:4] == ["[0:00]", 0, "[0:00 - 0:09]", 9]
    assert shown[4::2] == ["[0:02]", "[0:04]", "[0:06]", "[0:08]"]
    assert [abs(a - b) < 4 for a, b in zip(shown[5::2], [0, 0, 128, 255], strict=True)] == [
        True
    ] * 4


def test_one_frame_a_second_unless_told_otherwise(three_scenes):
    assert len(read(three_scenes, has_sound=False).media) == 9
    assert len(read(three_scenes, has_sound=False, fps=2).media) == 18


def test_few_frames_are_those_where_scenes_change(three_scenes):
    shown = show(read(three_scenes, has_sound=False, most_frames=3))
    assert shown[::2] == ["[0:00]", "[0:06]", "[0:07]"]


def test_a_number_of_frames_is_spread_evenly(three_scenes):
    shown = show(read(three_scenes, has_sound=False, frames=3))
    assert shown[::2] == ["[0:00]", "[0:03]", "[0:06]"]


def test_a_part_of_the_time(three_scenes):
    shown = show(read(three_scenes, start_s=6.0, end_s=8.0))
    assert shown[::2] == ["[0:06]", "[0:06 - 0:08]", "[0:07]"]
    with pytest.raises(InputError, match="no frames between 0:20 and the end"):
        read(three_scenes, start_s=20.0)


def test_a_video_is_described_by_its_frames_and_length(three_scenes):
    described = [
        read(three_scenes, **options).description
        for options in ({}, {"frames": 1}, {"start_s": 6.0, "end_s": 8.0})
    ]
    assert described == [
        "video, 9 frames of 9.0 s, with sound",
        "video, 1 frame of 9.0 s, with sound",
        "video, 2 frames of 2.0 s, with sound",
    ]


def test_a_video_without_sound(tmp_path):
    attachment = read(encode_video(tmp_path / "v.mkv", [9] * 20))
    assert "without sound" in attachment.description
    assert len(attachment.media) == 2


def test_sound_in_a_container_for_video_is_sound(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(make_tone(0.05)[None], "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert [part.kind for part in read(path).media] == ["audio"]


def test_a_video_of_no_frames_is_refused(tmp_path):
    path = encode_video(tmp_path / "v.mkv", [], sound=make_tone(1))
    with pytest.raises(InputError, match="has no frames"):
        read(path)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi"])
def test_a_truncated_video_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, 90)
    content = encode_video(tmp_path / name, noise).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError):
        read(tmp_path / name)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 20))
def test_chosen_frames_are_in_order_as_many_as_may_be_and_begin_with_the_first(changes, most):
    frames = [Frame(float(i), change) for i, change in enumerate(changes)]
    chosen = choose_frames(frames, most)
    times = [frame.at_s for frame in chosen]
    assert times == sorted(set(times))
    assert len(chosen) == min(most, len(frames))
    assert times[0] == 0
    scenes = [f for f in frames[1:] if f.change >= SCENE_CHANGE]
    if len(scenes) < most:
        assert set(scenes) <= set(chosen)
