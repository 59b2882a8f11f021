import pytest

from g3n_cli.engine.tokenizer import LlamaTokenizer
from tests.model_files import SMALL8, assemble_gemma3_270m, find_smollm2


@pytest.fixture(scope="session")
def small8_tokenizer():
    tokenizer = LlamaTokenizer.open(SMALL8)
    yield tokenizer
    tokenizer.close()


@pytest.fixture(scope="session")
def smollm2_tokenizer():
    tokenizer = LlamaTokenizer.open(find_smollm2())
    yield tokenizer
    tokenizer.close()


@pytest.fixture(scope="session")
def gemma3_270m_path(tmp_path_factory):
    return assemble_gemma3_270m(tmp_path_factory.mktemp("gemma3"))
