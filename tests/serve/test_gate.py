"""Who may ask: tokens, names of this machine, web pages."""

import json

import pytest

from g3n_cli.serve.gate import Access
from tests.fakes import make_engine
from tests.serve.front import run


def test_the_token_is_required():
    with run(make_engine("Hi"), Access(token="s3cret")) as front:
        for headers in (
            {},
            {"Authorization": "Bearer s3cre"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Bearer s\xe9cret"},
        ):
            status, told, content = front.ask("GET", "/v1/models", **headers)
            assert (status, told["www-authenticate"]) == (401, "Bearer")
            assert json.loads(content)["error"]["code"] == "invalid_api_key"
        assert front.ask("GET", "/v1/models", Authorization="Bearer s3cret")[0] == 200
        assert front.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:1", 200), ("[::1]", 200), ("evil.example", 403), ("[", 403)],
)
def test_other_names_of_this_machine_are_refused(host, status):
    with run(make_engine()) as front:
        assert front.ask("GET", "/v1/models", Host=host)[0] == status


def test_who_is_not_on_loopback_may_have_any_name():
    with run(make_engine(), Access(is_loopback=False)) as front:
        assert front.ask("GET", "/v1/models", Host="box.example")[0] == 200


def test_web_pages_ask_only_where_they_are_allowed_to():
    page = "http://localhost:3000"
    with run(make_engine("Hi")) as front:
        own = f"http://127.0.0.1:{front.port}"
        assert front.ask("GET", "/v1/models", Origin=page)[0] == 403
        assert front.ask("GET", "/v1/models", Origin="null")[0] == 403
        assert front.ask("GET", "/v1/models", Origin=own)[0] == 200
    access = Access(origins=(page,), token="s3cret")
    with run(make_engine(), access) as front:
        asks = {"Access_Control_Request_Method": "POST", "Origin": page}
        status, headers, _ = front.ask("OPTIONS", "/v1/chat/completions", **asks)
        assert (status, headers["access-control-allow-origin"]) == (200, page)
        status, headers, _ = front.ask("GET", "/v1/models", Origin=page)
        assert (status, headers["access-control-allow-origin"]) == (401, page)
        assert front.ask("GET", "/v1/models", Origin="http://evil.example")[0] == 403
