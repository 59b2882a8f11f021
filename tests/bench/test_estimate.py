from dataclasses import replace

import pytest

from g3n_cli.bench.estimate import NODES_PER_LAYER, Machine, measure_machine
from g3n_cli.registry.models import resolve


def test_reading_limits_large_models_and_waiting_small_ones():
    machine = Machine(read_bytes_per_s=20e9, node_s=1e-6)
    assert machine.estimate_decode_tps(2_000_000_000, 0) == pytest.approx(10)
    assert machine.estimate_decode_tps(0, 10) == pytest.approx(1e6 / (10 * NODES_PER_LAYER))
    assert machine.estimate_decode_tps(2_000_000_000, 30) < 10
    machine = replace(machine, token_s=0.1)
    assert machine.estimate_decode_tps(2_000_000_000, 0) == pytest.approx(5)


def test_this_machine_can_be_measured():
    machine = measure_machine(2, resolve(None).path)
    assert machine.read_bytes_per_s > 1e8
    assert 0 < machine.node_s < 1e-2
