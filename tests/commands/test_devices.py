import json
import sys

import pytest

from g3n_cli.commands.devices import find_missing, show_build, show_devices
from g3n_cli.ggml.devices import Backend, Device

GPU = Device("CUDA0", "NVIDIA H100", "gpu", "CUDA", 78_000_000_000, 80_000_000_000)


def test_the_table_names_cpu_features_kernels_and_what_is_missing(g3n):
    done = g3n.run("devices")
    assert (done.returncode, done.stderr) == (0, b"")
    table, build, *missing = done.stdout.decode().split("\n\n")
    assert table.splitlines()[1].split()[:3] == ["CPU", "cpu", "CPU"]
    assert "REPACK" in build
    assert "g3n's kernels" in build
    assert any('CMAKE_ARGS="-DGGML_' in part for part in missing)
    assert f"{sys.executable} -m pip install" in missing[-1]
    room = 80 + len(sys.executable)  # an environment may lie anywhere
    assert max(map(len, done.stdout.decode().splitlines())) <= room


def test_json_has_the_same_with_memory_in_bytes(g3n):
    done = g3n.run("devices", "--json")
    report = json.loads(done.stdout)
    assert list(report) == ["ggml", "devices", "backends", "kernels", "missing"]
    (cpu,) = [device for device in report["devices"] if device["type"] == "cpu"]
    assert cpu["memory_total_bytes"] > 1e8
    (built,) = [backend for backend in report["backends"] if backend["name"] == "CPU"]
    assert built["features"]["REPACK"] == "1"


def test_a_gpu_has_a_line_of_its_own():
    cells = "CUDA0 gpu CUDA 78.00 GB 80.00 GB NVIDIA H100"
    assert show_devices([GPU]).splitlines()[1].split() == cells.split()


def test_a_long_list_of_features_goes_on_below():
    features = {f"FEATURE_{i}": "1" for i in range(20)}
    lines = show_build("1.0", [Backend("CPU", features)], ["avx2"]).splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines[1:-1]).split() == ["CPU", *features]


@pytest.mark.parametrize(
    ("built", "system", "missing"),
    [
        ({"CPU"}, "linux", ["CUDA", "ROCm", "SYCL", "Vulkan", "RPC"]),
        ({"CPU", "CUDA"}, "linux", ["ROCm", "SYCL", "Vulkan", "RPC"]),
        ({"CPU"}, "darwin", ["RPC", "MTL"]),
        ({"CPU", "RPC", "MTL"}, "darwin", []),
    ],
)
def test_what_is_built_in_is_not_missing(built, system, missing):
    assert [backend.name for backend in find_missing(built, system)] == missing
