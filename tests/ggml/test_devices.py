import ctypes
import os

from g3n_cli.ggml import devices
from g3n_cli.ggml.bindings import Feature
from g3n_cli.ggml.devices import Backend, list_backends, list_devices


def test_the_cpu_is_a_device_with_the_memory_of_this_machine():
    (cpu,) = [device for device in list_devices() if device.type == "cpu"]
    assert (cpu.name, cpu.backend) == ("CPU", "CPU")
    assert cpu.memory_total_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < cpu.memory_free_bytes < cpu.memory_total_bytes


def test_each_device_belongs_to_a_backend_that_is_listed():
    names = [backend.name for backend in list_backends()]
    assert {device.backend for device in list_devices()} <= set(names)


def test_the_cpu_backend_tells_its_features():
    (cpu,) = [backend for backend in list_backends() if backend.name == "CPU"]
    assert cpu.features["REPACK"] == "1"


class GgmlWithGpu:
    """The registry of a ggml with a GPU whose backend names one feature."""

    def __init__(self):
        self._features = (Feature * 2)(Feature(b"ARCHS", b"900"), Feature(None, None))
        prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        self._get_features = prototype(lambda _: ctypes.addressof(self._features))

    def backend_dev_count(self):
        return 1

    def backend_dev_get(self, index):
        return 100 + index

    def backend_dev_type(self, _device):
        return 1

    def backend_dev_memory(self, _device, free, total):
        free._obj.value, total._obj.value = 60, 80

    def backend_dev_name(self, _device):
        return b"CUDA0"

    def backend_dev_description(self, _device):
        return b"A big one"

    def backend_dev_backend_reg(self, _device):
        return 7

    def backend_reg_count(self):
        return 1

    def backend_reg_get(self, _index):
        return 7

    def backend_reg_name(self, _registry):
        return b"CUDA"

    def backend_reg_get_proc_address(self, _registry, _name):
        return ctypes.cast(self._get_features, ctypes.c_void_p).value


def test_a_gpu_is_listed_with_its_own_memory(monkeypatch):
    gpu = GgmlWithGpu()
    monkeypatch.setattr(devices, "load", lambda: gpu)
    assert list_devices() == (devices.Device("CUDA0", "A big one", "gpu", "CUDA", 60, 80),)
    assert list_backends() == (Backend("CUDA", {"ARCHS": "900"}),)
