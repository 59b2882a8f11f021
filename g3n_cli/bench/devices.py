"""``--device`` of ``g3n bench``: names of what this machine computes on."""

from __future__ import annotations

from g3n_cli.bench.case import is_address
from g3n_cli.bench.sweep_text import parse_words
from g3n_cli.config import CPU
from g3n_cli.ggml.device_backend import find_device, list_names

ALL = "all"


def parse_devices(text: str) -> tuple[list[str], list[str]]:
    """Devices by name, separated by commas, and addresses of servers among them.

    ``all`` stands for the CPU and each GPU of this machine.

    Raises:
        UsageError: there is no such device.
        ServerError: a server that lends one does not answer.
    """
    words = parse_words(text, "--device")
    names: list[str] = []
    for word in (word for word in words if not is_address(word)):
        if word == ALL:
            names += list_names()
            continue
        if word.lower() != CPU:
            find_device(word)
        names.append(CPU if word.lower() == CPU else word)
    return names, [word for word in words if is_address(word)]
