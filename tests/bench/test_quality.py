import numpy as np
import pytest

from g3n_cli.bench.quality import compare, load_sample, predict, take_tokens
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from g3n_cli.errors import InputError
from tests.oracle import find_case

PATH = find_case("mat12", "q8_0").path


@pytest.fixture
def engine():
    opened = open_engine(PATH, "tiny", EngineSettings(n_ctx=256, n_batch=16))
    yield opened
    opened.close()


def test_predictions_are_the_logarithms_of_probabilities(engine):
    ids = take_tokens(engine, load_sample(), 40)
    found = list(predict(engine, ids, 20))
    assert len(found) == 20
    for each in found:
        assert np.exp(each.astype(np.float64)).sum() == pytest.approx(1)
    engine.resize("full", recompute=True)
    every = engine.compute_all_logits(Prompt.of_ids(ids))
    assert [int(each.argmax()) for each in found] == every[19:39].argmax(axis=1).tolist()


def test_figures_follow_their_formulas():
    half, sure = np.log(np.float32([0.5, 0.5])), np.log(np.float32([0.9, 0.1]))
    same = compare([half, sure], iter([half, sure]), [0, 0])
    assert (same.kl_divergence, same.top1_agreement) == (0, 1)
    assert same.perplexity == pytest.approx(np.exp(-(np.log(0.5) + np.log(0.9)) / 2))
    other = compare([half, sure], iter([sure, np.log(np.float32([0.2, 0.8]))]), [0, 0])
    wanted = (0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)) + (
        0.9 * np.log(0.9 / 0.2) + 0.1 * np.log(0.1 / 0.8)
    )
    assert other.kl_divergence == pytest.approx(wanted / 2, rel=1e-5)
    assert other.top1_agreement == 0.5


def test_a_text_that_is_too_short_or_too_long_is_refused(engine):
    with pytest.raises(InputError, match=r"the text has \d+ tokens, 40"):
        take_tokens(engine, "short", 40)
    with pytest.raises(InputError, match="do not fit a context of 256"):
        take_tokens(engine, load_sample(), 300)
