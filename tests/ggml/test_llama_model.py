import pytest

from g3n_cli.errors import ModelError
from g3n_cli.ggml.abort import AbortFlag
from g3n_cli.ggml.llama import Model
from tests.model_files import SMALL8, find_smollm2


@pytest.fixture
def model():
    with Model(SMALL8, vocab_only=True) as model:
        yield model


def test_model_describes_itself(model):
    assert model.architecture == "gemma3n"
    assert model.vocab.n_vocab == 512
    assert (model.vocab.bos_id, model.vocab.adds_bos) == (2, True)
    assert not model.has_encoder


def test_closed_model_refuses_also_through_its_vocabulary(model):
    vocab = model.vocab
    model.close()
    model.close()
    with pytest.raises(ValueError, match="already closed"):
        model.chat_template  # noqa: B018
    with pytest.raises(ValueError, match="already closed"):
        vocab.piece(5, special=False)


def test_pieces_longer_than_the_first_buffer_are_whole():
    with Model(find_smollm2(), vocab_only=True) as model:
        pieces = [model.vocab.piece(i, special=True) for i in range(model.vocab.n_vocab)]
    assert max(map(len, pieces)) > 64


@pytest.mark.parametrize("token", [-1, 512, 2**31 - 1])
def test_tokens_out_of_range_are_refused(model, token):
    for ask in (model.vocab.is_end, model.vocab.is_control):
        with pytest.raises(IndexError):
            ask(token)


def test_loading_gives_up_when_the_flag_is_set():
    flag = AbortFlag()
    flag.set()
    with pytest.raises(ModelError, match="cannot load"):
        Model(find_smollm2(), abort=flag)
    flag.clear()
    Model(find_smollm2(), abort=flag).close()


def test_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(ModelError, match=r"cannot load none\.gguf: .*failed to load model"):
        Model(tmp_path / "none.gguf")


def test_flag_answers_c_code_as_it_answers_python():
    flag = AbortFlag()
    for is_set in (False, True, False):
        flag.set() if is_set else flag.clear()
        assert flag.is_set() == is_set
        assert flag.callback(flag.address) == is_set
