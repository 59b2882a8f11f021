"""Compile the kernels; run by ``pip install`` through ``hatch_build.py``.

``python -m g3n_cli.kernels.build [FLAG]...`` compiles them anew, in place. Needs nothing but the
standard library and a C compiler, as it runs before g3n is installed.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
_X86, _ARM = ("x86_64", "amd64"), ("aarch64", "arm64")
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
VARIANTS: dict[str, tuple[str, ...]] = {
    "portable": ("-O2",),  # -O3 takes the compiler half a minute and gains nothing
    "neon": ("-march=armv8.2-a+dotprod",),
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "-mavxvnni"),
    "avx512vnni": (*_AVX2, *_AVX512, "-mprefer-vector-width=512"),
}
"""Compiler flags of each variant, the best last."""

MACHINES = {"neon": _ARM, "avx2": _X86, "avxvnni": _X86, "avx512vnni": _X86}
"""Machines that a variant is for, as ``platform.machine()`` names them; any if it has none."""

FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Wno-unknown-pragmas"),
)


class CompilerError(Exception):
    """There is no compiler, or it cannot compile a variant."""


def find_compiler() -> list[str]:
    """The C compiler's command: ``$CC``, else the first of cc, gcc, clang.

    Raises:
        CompilerError: there is none.
    """
    if given := os.environ.get("CC"):
        return shlex.split(given)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise CompilerError("no C compiler found")


def file_name(variant: str) -> str:
    """The library of a variant."""
    return f"libg3n-{variant}.so"


def build(out: Path, extra_flags: tuple[str, ...] = ()) -> list[Path]:
    """Compile all variants of this machine's architecture into ``out``.

    Args:
        out: An existing folder.
        extra_flags: For the compiler, after all others.

    Returns:
        The libraries; a variant that the compiler does not know is left out.

    Raises:
        CompilerError: not even the portable variant compiles.
    """
    compiler = find_compiler()
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    machine = platform.machine().lower()
    libraries = []
    for variant, flags in VARIANTS.items():
        if machine not in MACHINES.get(variant, (machine,)):
            continue
        library = out / file_name(variant)
        command = [*compiler, *FLAGS, *flags, *extra_flags, "-shared", "-o", str(library), *sources]
        done = subprocess.run([*command, "-lm"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            libraries.append(library)
        elif variant == "portable":
            raise CompilerError(done.stderr.strip() or f"{compiler[0]} failed")
    return libraries


if __name__ == "__main__":
    build(Path(__file__).parent, tuple(sys.argv[1:]))
