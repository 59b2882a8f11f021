import pytest

from g3n_cli.errors import DoesNotFitError
from g3n_cli.ggml.handles import Buffer


def test_memory_that_the_system_refuses_is_told_in_a_person_s_units():
    with pytest.raises(DoesNotFitError) as caught:
        Buffer.zeros(1 << 60)
    assert caught.value.message == "there is no memory for 1152921504.61 GB more"
    assert "ulimit -v" in caught.value.hint
