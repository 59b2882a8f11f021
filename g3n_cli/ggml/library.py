"""Finding, loading and checking the libggml that llama-cpp-python installs."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g3n_cli.errors import G3nError
from g3n_cli.ggml.bindings import (
    BASE_PROTOTYPES,
    CPU_PROTOTYPES,
    GGML_VERSION,
    LOG_CALLBACK,
    OBJECT_STRUCT_SIZE,
    REGISTRY_PROTOTYPES,
    InitParams,
    TensorStruct,
)

_HINT = "reinstall with: pip install --force-reinstall llama-cpp-python==0.3.36"


# ggml reports each tensor it repacks; kept here because C holds on to it.
_SILENCE = LOG_CALLBACK(lambda _level, _text, _user: None)


class Library:
    """The functions of ggml under their names without the ``ggml_`` prefix."""

    def __init__(self, folder: Path) -> None:
        """Load the shared libraries in ``folder``.

        Raises:
            G3nError: a library or a function of it is missing.
        """
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        for stem, prototypes in (
            ("libggml-base", BASE_PROTOTYPES),
            ("libggml-cpu", CPU_PROTOTYPES),
            ("libggml", REGISTRY_PROTOTYPES),
        ):
            path = folder / (stem + suffix)
            try:
                cdll = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
                for name, (result, *arguments) in prototypes.items():
                    function = getattr(cdll, f"ggml_{name}")
                    function.restype, function.argtypes = result, arguments
                    setattr(self, name, function)
            except (OSError, AttributeError) as error:
                raise G3nError(f"cannot use {path.name}: {error}", _HINT) from error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Only reached for functions that were never declared."""
        raise AttributeError(f"ggml_{name} is not declared in g3n_cli/ggml/bindings.py")


@functools.cache
def load() -> Library:
    """The process's ggml, loaded and checked on first use.

    Raises:
        G3nError: it is missing, of another version, or its structs are laid out differently.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise G3nError("llama-cpp-python is not installed", _HINT)
    # Read by libgomp when it is loaded: threads waiting at a barrier sleep soon instead of spinning
    # away the time of whoever they wait for. docs/log.md has the measurements.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    library = Library(Path(spec.origin).parent / "lib")
    verify(library)
    library.log_set(_SILENCE, None)
    library.cpu_init()
    return library


def verify(library: Library) -> None:
    """Check that ``library`` is the version, with the struct layout, that the bindings describe.

    Raises:
        G3nError: it is not; using it would corrupt memory.
    """
    version = library.version().decode()
    if version != GGML_VERSION:
        raise G3nError(f"ggml is version {version}, g3n needs {GGML_VERSION}", _HINT)
    expected = OBJECT_STRUCT_SIZE + ctypes.sizeof(TensorStruct)
    if library.tensor_overhead() != expected:
        found = library.tensor_overhead()
        raise G3nError(f"ggml's tensor struct has {found} bytes where {expected} are known", _HINT)
    context = library.init(InitParams(4 * expected, None, True))
    try:
        tensor = TensorStruct.from_address(library.new_tensor_3d(context, 1, 8, 5, 3))
        library.set_name(ctypes.addressof(tensor), b"probe")
        view = TensorStruct.from_address(
            library.view_2d(context, ctypes.addressof(tensor), 8, 2, 16, 32)
        )
        seen = (
            (tensor.type, tuple(tensor.ne), tuple(tensor.nb), tensor.name, tensor.data),
            (view.view_src, view.view_offs, tuple(view.ne), view.src[0], view.extra),
        )
        wanted = (
            (1, (8, 5, 3, 1), (2, 16, 80, 240), b"probe", None),
            (ctypes.addressof(tensor), 32, (8, 2, 1, 1), ctypes.addressof(tensor), None),
        )
        if seen != wanted:
            raise G3nError("ggml's tensor struct is laid out differently than g3n knows it", _HINT)
    finally:
        library.free(context)
