"""Schemas: what they let a model write, what they refuse, and what the check in the end says."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from g3n_cli.chat.schema.answer import AnswerSchema
from g3n_cli.engine.tokenizer import LlamaTokenizer
from tests.chat.schema.documents import SCHEMAS, write
from tests.model_files import SMALL8


@pytest.fixture(scope="module")
def tokenizer():
    opened = LlamaTokenizer.open(SMALL8)
    yield opened
    opened.close()


@given(SCHEMAS, st.integers(0, 2**31))
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_whatever_a_model_writes_under_a_schema_satisfies_it(tokenizer, text, seed):
    schema = AnswerSchema.parse(text)
    written = write(schema, tokenizer, seed)
    if written is not None:
        schema.read(written)
        assert "\n" not in written
