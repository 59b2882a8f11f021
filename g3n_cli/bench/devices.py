"""``--device`` of ``g3n bench``: names of what this machine computes on."""

from __future__ import annotations

from collections.abc import Sequence

from g3n_cli.bench.sweep_text import parse_words
from g3n_cli.config import CPU
from g3n_cli.ggml.device_backend import find_device, list_names

ALL = "all"


def parse_devices(text: str) -> Sequence[str]:
    """Devices by name, separated by commas; ``all`` for the CPU and each GPU of this machine.

    Raises:
        UsageError: there is no such device.
        ServerError: a server that lends one does not answer.
    """
    if text == ALL:
        return list_names()
    names = parse_words(text, "--device")
    for name in names:
        if name.lower() != CPU:
            find_device(name)
    return [CPU if name.lower() == CPU else name for name in names]
