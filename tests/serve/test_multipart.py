"""Forms as clients send them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3n_cli.serve.multipart import MOST_PARTS, parse_form
from g3n_cli.serve.refusal import RefusedError
from tests.serve.front import make_form

CONTENT = [b"", b"\0\r\n\r\n--", b"\n" * 9, b"\r", b"a\r\n", b"\r\n--x", bytes(range(256))]


@pytest.mark.parametrize("content", CONTENT)
def test_a_file_arrives_as_it_was_sent(content):
    kind, body = make_form({"file": content, "language": b"de"})
    assert parse_form(kind, body) == {"file": [content], "language": [b"de"]}


@given(st.lists(st.binary(), max_size=5))
def test_values_of_one_name_stay_in_order(values):
    kind, body = make_form([("a[]", value) for value in values])
    assert parse_form(kind, body) == ({"a[]": values} if values else {})


def test_headers_may_be_written_in_other_ways():
    body = (
        b"a preamble\r\n--x y  \r\ncontent-type: text/plain\r\n"
        b'CONTENT-DISPOSITION: form-data; filename="n\xc3\xa4me; name=b"; name=a\r\n\r\n1'
        b"\r\n--x y--\r\nan epilogue"
    )
    assert parse_form('Multipart/Form-Data; boundary="x y"', body) == {"a": [b"1"]}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("", b"{}"),
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n1\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense\r\n--x--"),
    ],
)
def test_what_is_no_form_is_refused(kind, body):
    with pytest.raises(RefusedError) as caught:
        parse_form(kind, body)
    assert caught.value.status == 400


def test_headers_that_are_too_long_are_refused():
    kind, body = make_form({"a": b"1"})
    assert parse_form(kind, body.replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n")) == {"a": [b"1"]}
    with pytest.raises(RefusedError, match="broken"):
        parse_form(kind, body.replace(b"\r\n\r\n", b"\r\nX: y" * 2000 + b"\r\n\r\n"))


def test_too_many_parts_are_refused():
    kind, body = make_form([("a", b"1")] * MOST_PARTS)
    with pytest.raises(RefusedError, match="parts"):
        parse_form(kind, body)
    assert len(parse_form(*make_form([("a", b"1")] * (MOST_PARTS - 1)))["a"]) == MOST_PARTS - 1


@given(st.text(), st.binary())
def test_whatever_is_sent_is_understood_or_refused(kind, body):
    for content_type in (kind, f"multipart/form-data; boundary={kind}"):
        with suppress(RefusedError):
            assert isinstance(parse_form(content_type, b"--" + body), dict)
