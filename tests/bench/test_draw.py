import io
from xml.etree import ElementTree

import pytest
from PIL import Image

from g3n_cli.bench.charts import Chart, Series
from g3n_cli.bench.draw import HEIGHT, WIDTH, draw_png, draw_svg
from g3n_cli.bench.html import format_html
from tests.bench.samples import make_report, make_result, make_sample

SVG = "{http://www.w3.org/2000/svg}"
LINES = Chart("A <b>", "tokens", "s", (Series("x & y", ((10, 1.0), (20, 3.0))), Series("z", ())))
POINTS = Chart("P", "MB", "tokens/s", (Series("one", ((5, 1),)), Series("two", ((5, 2),))), False)


def test_svg_is_well_formed_and_holds_all_text():
    root = ElementTree.fromstring(draw_svg([LINES, POINTS]))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"A <b>", "x & y", "tokens", "s", "P", "one", "two"} <= set(texts)
    assert root.get("height") == str(2 * HEIGHT + 4 * 18)


def test_lines_run_from_left_to_right_and_up_for_more():
    root = ElementTree.fromstring(draw_svg([LINES]))
    (line,) = [e for e in root.iter(f"{SVG}polyline") if e.get("stroke-width") == "2"][:1]
    (x1, y1), (x2, y2) = (map(float, place.split(",")) for place in line.get("points").split())
    assert 0 < x1 < x2 <= WIDTH
    assert y2 < y1


def test_png_is_a_picture_of_the_same_shape():
    image = Image.open(io.BytesIO(draw_png([LINES, POINTS])))
    assert image.format == "PNG"
    assert image.size == (2 * WIDTH, 2 * (2 * HEIGHT + 4 * 18))
    assert len(image.getcolors(1 << 20)) > 5
    image.close()


@pytest.mark.parametrize("draw", [draw_svg, draw_png])
def test_equal_charts_give_equal_drawings(draw):
    assert draw([LINES]) == draw([LINES])


def test_a_page_needs_nothing_from_outside_and_obeys_no_name():
    trace = ((0.1, 10_000_000), (0.2, 20_000_000))
    name = "<script>alert(1)</script>"
    results = [
        make_result(make_sample(rss_trace=trace), model=name, warnings=("noisy: rest",)),
        make_result(n_depth=64),
    ]
    page = format_html(make_report(*results))
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for outside in ("src=", "href=", "url(", "@import"):
        assert outside not in page
    assert page.count("<svg") == 1
    assert "<td>500 ms</td>" in page
    assert ": noisy</li>" in page
    assert "hint: rest</li>" in page


def test_a_page_of_nothing_measured_yet_is_one():
    page = format_html(make_report()).replace("\n", "")
    assert page.endswith("</html>")
