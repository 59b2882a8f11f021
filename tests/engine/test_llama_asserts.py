"""Files of other architectures: what aborts llama.cpp is refused, what it runs is not."""

import pytest

from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.validate import open_model
from g3n_cli.errors import ModelError
from tests.gguf_edit import F32, I32, STRING, U16, U32, array, scalar, text
from tests.model_files import find_smollm2
from tests.tiny_llama import make_llama


@pytest.fixture
def check(tmp_path):
    """Opens a tiny llama whose ``llama.*`` keys were changed."""

    def check(**changes: bytes) -> None:
        draft = make_llama()
        draft.keys |= {f"llama.{name.replace('__', '.')}": v for name, v in changes.items()}
        open_model(draft.write(tmp_path / "model.gguf"))

    return check


def number(n: int) -> bytes:
    return scalar(U32, n)


@pytest.mark.parametrize("n_layer", [0, 513, 2**31])
def test_a_number_of_layers_that_llama_cpp_asserts_on_is_refused(check, n_layer):
    with pytest.raises(ModelError, match=r"llama\.block_count: not a number between 1 and 512"):
        check(block_count=number(n_layer))


def test_more_predicting_layers_than_layers_are_refused(check):
    with pytest.raises(ModelError, match="nextn_predict_layers: not a number between 0 and 2"):
        check(nextn_predict_layers=number(3))


@pytest.mark.parametrize("epsilon", [-1.0, float("nan"), float("inf")])
def test_an_epsilon_that_ggml_asserts_on_is_refused(check, epsilon):
    with pytest.raises(ModelError, match="rms_epsilon is not between 0 and 1"):
        check(attention__layer_norm_rms_epsilon=scalar(F32, epsilon))


@pytest.mark.parametrize(
    "changes",
    [
        {"expert_count": 4},
        {"expert_used_count": 2},
        {"expert_group_count": 2},
        {"expert_count": 4, "expert_used_count": 5},
        {"expert_count": 4, "expert_used_count": 2, "expert_group_count": 4},
        {"expert_count": 4, "expert_used_count": 2, "expert_group_count": 3},
        {"expert_count": 4, "expert_used_count": 2, "expert_group_count": 2},
    ],
)
def test_experts_that_do_not_add_up_are_refused(check, changes):
    with pytest.raises(ModelError, match="does not fit the other expert_ keys"):
        check(**{name: number(n) for name, n in changes.items()})


def test_more_experts_than_llama_cpp_has_room_for_are_refused(check):
    with pytest.raises(ModelError, match="expert_count: not a number between 0 and 1024"):
        check(expert_count=number(1025), expert_used_count=number(2))


def test_experts_that_add_up_are_accepted(check):
    check(
        expert_count=number(8),
        expert_used_count=array(I32, [2, 4]),
        expert_group_count=number(4),
        expert_group_used_count=number(2),
    )


@pytest.mark.parametrize("kind", ["", "bogus"])
def test_an_unknown_kind_of_rope_scaling_is_refused(check, kind):
    with pytest.raises(ModelError, match=r"rope\.scaling\.type: none of none, linear, yarn"):
        check(rope__scaling__type=text(kind))


@pytest.mark.parametrize("heads", [array(U32, [2, 0]), array(U32, [2, 3]), number(0), number(3)])
def test_heads_that_cannot_share_keys_are_refused(check, heads):
    with pytest.raises(ModelError, match=r"head_count_kv: . does not divide 4 heads"):
        check(attention__head_count_kv=heads)


@pytest.mark.parametrize("heads", [array(U32, [4]), array(STRING, ["4", "4"]), scalar(F32, 4.0)])
def test_heads_that_are_no_numbers_are_refused(check, heads):
    with pytest.raises(ModelError, match="head_count: not a number, nor 2 of them"):
        check(attention__head_count=heads)


def test_heads_by_layer_are_accepted(check):
    check(attention__head_count=array(U32, [4, 4]), attention__head_count_kv=array(I32, [2, 2]))


def test_an_odd_number_of_rotated_values_is_refused(check):
    with pytest.raises(ModelError, match=r"rope\.dimension_count: 7 is odd"):
        check(rope__dimension_count=number(7))


def test_a_part_of_a_split_model_is_refused(tmp_path):
    draft = make_llama()
    draft.keys["split.count"] = scalar(U16, 2)
    with pytest.raises(ModelError, match="one part of a model split over several files"):
        open_model(draft.write(tmp_path / "model.gguf"))


@pytest.mark.parametrize(
    ("name", "kind"), [("output_norm", GgmlType.F16), ("token_embd", GgmlType.I8)]
)
def test_types_that_no_operation_of_ggml_takes_are_refused(tmp_path, name, kind):
    draft = make_llama()
    tensor = draft.tensor(f"{name}.weight")
    draft.change(tensor.name, type=kind, data=tensor.data[: len(tensor.data) // 2])
    with pytest.raises(ModelError, match=rf"{name}\.weight has the unusable type"):
        open_model(draft.write(tmp_path / "model.gguf"))


@pytest.mark.model
def test_a_real_model_is_accepted():
    open_model(find_smollm2())
