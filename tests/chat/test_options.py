import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.engine.sampling import Greedy, Stochastic
from g3n_cli.errors import UsageError


def test_temperature_zero_takes_the_likeliest_token():
    assert AnswerOptions(1, temp=0, repeat_penalty=1.5).make_sampling() == Greedy(1.5)


def test_defaults_are_those_published_with_gemma():
    assert AnswerOptions(7).make_sampling() == Stochastic(7)


def test_another_attempt_draws_with_another_seed():
    options = AnswerOptions(2**32 - 1)
    assert options.make_sampling(1) == Stochastic(0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("temp", "0.5", 0.5), ("top-k", "3", 3), ("max_tokens", "9", 9), ("max_tokens", "none", None)],
)
def test_change_reads_a_value(name, value, expected):
    changed = AnswerOptions(1, max_tokens=5).change(name, value)
    assert getattr(changed, name.replace("-", "_")) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heat", "1"),
        ("temp", "warm"),
        ("temp", "-1"),
        ("temp", "nan"),
        ("top_k", "1.5"),
        ("top_p", "0"),
        ("min_p", "2"),
        ("max_tokens", "0"),
        ("seed", "-1"),
        ("repeat_penalty", "0"),
    ],
)
def test_change_refuses_what_makes_no_sense(name, value):
    with pytest.raises(UsageError):
        AnswerOptions(1).change(name, value)
