import numpy as np
import pytest
from PIL import Image

from g3n_cli.errors import InputError
from g3n_cli.media.image import MOST_PIXELS, read_image
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.source import Source
from tests.media_files import encode, make_huge_png, make_picture


def read(content, **options):
    options = MediaOptions(**{"image_size": 16, **options})
    return [part.values for part in read_image(Source.of_bytes(content), options).parts]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_formats_give_the_same_values(kind):
    image = make_picture().quantize(64).convert("RGB")
    (values,) = read(encode(image, kind))
    wanted = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(values, wanted)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_are_read(kind):
    (values,) = read(encode(Image.new("RGB", (40, 30), (200, 100, 50)), kind))
    assert np.abs(values.astype(int) - [200, 100, 50]).max() < 6


def test_heic_is_read_where_pillow_has_a_plug_in():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    (values,) = read(encode(Image.new("RGB", (40, 30), (200, 100, 50)), "HEIF"))
    assert np.abs(values.astype(int) - [200, 100, 50]).max() < 8


def test_a_picture_is_squashed_whatever_its_shape():
    image = Image.new("RGB", (60, 20), "black")
    image.paste("white", (30, 0, 60, 20))
    (values,) = read(encode(image, "PNG"))
    assert values.shape == (16, 16, 3)
    assert values[:, :7].max() == 0
    assert values[:, 9:].min() == 255


def test_without_a_size_the_shape_is_kept_and_large_pictures_become_smaller():
    (values,) = read(encode(make_picture(40, 30), "PNG"), image_size=None)
    assert values.shape == (30, 40, 3)
    (values,) = read(encode(make_picture(4000, 40), "PNG"), image_size=None)
    assert values.shape == (15, 1536, 3)


def test_a_camera_held_upright_gives_an_upright_picture():
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))  # left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    (values,) = read(encode(image, "PNG", exif=exif))
    assert values[:7].min() == 255  # top
    assert values[9:].max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    content = encode(image if mode != "LA" else image.convert("LA"), "PNG")
    assert read(content)[0].min() == 255


def test_half_transparent_is_mixed_with_white():
    (values,) = read(encode(Image.new("RGBA", (9, 9), (0, 0, 0, 128)), "PNG"))
    assert values[8, 8].tolist() == [127] * 3


def test_cmyk_is_understood():
    (values,) = read(encode(Image.new("CMYK", (9, 9), (0, 0, 0, 0)), "TIFF"))
    assert values.min() == 255


def test_sixteen_bits_become_eight():
    gray = np.full((9, 9), 0x8080, np.uint16)
    (values,) = read(encode(Image.fromarray(gray), "PNG"))
    assert values[4, 4].tolist() == [128] * 3


def test_an_animation_gives_its_first_frame_or_as_many_as_wanted():
    frames = [Image.new("RGB", (9, 9), (60 * i,) * 3) for i in range(4)]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert [v[0, 0, 0] for v in read(content)] == [0]
    assert [v[0, 0, 0] for v in read(content, frames=2)] == [0, 120]
    assert len(read(content, frames=9)) == 4
    assert "1 of 4 frames" in read_image(Source.of_bytes(content), MediaOptions()).description


def test_a_decompression_bomb_is_refused():
    content = make_huge_png()
    assert len(content) < 4000
    with pytest.raises(InputError, match="pixels"):
        read(content)
    with pytest.raises(InputError, match=f"at most {MOST_PIXELS // 10**6}"):
        read(make_huge_png(10_001))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_picture_cut_anywhere_is_refused(kind):
    content = encode(make_picture(), kind)
    for at in (9, len(content) // 4, len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(InputError, match=r"picture|pixels"):
            read(content[:at])
