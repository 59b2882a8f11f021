"""Choices are scored as wholes: their tokens, and the end of the turn after them."""

import time
from contextlib import closing

import numpy as np
import pytest

from g3n_cli.config import EngineSettings
from g3n_cli.engine.choice import ChoiceAnswer, Choices
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.validate import N_TEXT_TOKENS
from g3n_cli.errors import InputError
from tests.model_files import SMALL8, find_smollm2

# Two ways through one engine differ by the order of sums: 1e-2 in a logit, a few tokens long.
# SmolLM2 is quantized: it differs more between batch sizes, so prompts are read in one batch here.
SAME = 5e-2
TEXTS = ("yes", "yes please", "no", "nö", "<end_of_turn>")


@pytest.fixture(scope="module", params=[lambda: SMALL8, find_smollm2], ids=["gemma3n", "llama"])
def engine(request):
    with closing(open_engine(request.param(), "it", EngineSettings(n_ctx=256, kv="f16"))) as opened:
        yield opened


def ask(engine, text="Is it so?", **choices):
    prompt = Prompt.of_ids(engine.tokenizer.encode(text, add_bos=True))
    answer = ChoiceAnswer(engine, prompt, Choices(**choices), None, time.perf_counter())
    assert "".join(answer) == answer.text
    return answer


def score_afresh(engine, text, choice):
    """The sum of the log-probabilities of all tokens, one after the other behind a new prompt."""
    path = engine.tokenizer.encode(choice, parse_special=False)
    engine.prefill(Prompt.of_ids([5]))
    logits = engine.prefill(Prompt.of_ids(engine.tokenizer.encode(text, add_bos=True)))
    total = 0.0
    for token in [*path, None]:
        logits = logits[:N_TEXT_TOKENS].astype(float)
        logits -= np.log(np.exp(logits - logits.max()).sum()) + logits.max()
        wanted = sorted(engine.info.end_ids) if token is None else [token]
        total += np.log(np.exp(logits[wanted]).sum())
        if token is not None:
            logits = engine.decode(token)
    return total


def test_scores_are_those_of_whole_texts_and_their_end(engine):
    engine.prefill(Prompt.of_ids([5]))  # forget other prompts
    answer = ask(engine, texts=TEXTS)
    assert [choice.text for choice in answer.ranking] == list(TEXTS)
    for choice in answer.ranking:
        assert choice.logprob == pytest.approx(
            score_afresh(engine, "Is it so?", choice.text), abs=SAME
        )


def test_the_likeliest_is_taken_and_probabilities_are_those_among_the_choices(engine):
    answer = ask(engine, texts=TEXTS)
    logprobs = np.array([choice.logprob for choice in answer.ranking])
    shares = np.exp(logprobs - logprobs.max())
    assert answer.text == TEXTS[logprobs.argmax()]
    assert [c.probability for c in answer.ranking] == pytest.approx(shares / shares.sum())
    assert list(answer.ids) == engine.tokenizer.encode(answer.text, parse_special=False)
    stats = answer.stats
    assert (stats.stop_reason, stats.output_tokens) == ("end", len(answer.ids))
    assert stats.ttft_s > 0


def test_the_order_of_the_choices_does_not_matter(engine):
    forward, back = ask(engine, texts=TEXTS), ask(engine, texts=TEXTS[::-1])
    for choice, same in zip(forward.ranking, back.ranking[::-1], strict=True):
        assert choice.logprob == pytest.approx(same.logprob, abs=SAME)


def test_a_temperature_draws_by_probability_and_a_seed_repeats_it(engine):
    drawn = [ask(engine, texts=TEXTS, temperature=100, seed=seed).text for seed in range(30)]
    assert set(drawn) == set(TEXTS)  # so hot that all are alike: (4/5)**30 that one is missing
    again = [ask(engine, texts=TEXTS, temperature=100, seed=seed).text for seed in range(5)]
    assert again == drawn[:5]
    cold = {ask(engine, texts=TEXTS, temperature=1e-3, seed=seed).text for seed in range(5)}
    assert cold == {ask(engine, texts=TEXTS).text}


def test_the_prompt_is_read_once(engine):
    ask(engine, texts=("a", "b"))
    assert ask(engine, texts=("yes", "no")).stats.reused_tokens > 0


def test_what_has_no_room_is_refused_with_what_has(engine):
    with pytest.raises(InputError, match="the context holds 256") as caught:
        ask(engine, texts=("a", "b c d e f g " * 60))
    assert "--ctx" in caught.value.hint
