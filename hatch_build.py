"""Compiles the kernels when g3n is installed; without a compiler g3n uses ggml's own products."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("g3n_cli") / "kernels"


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled libraries to the wheel, or to the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Called by hatchling before it packs a wheel."""
        folder = Path(self.root) / KERNELS
        spec = importlib.util.spec_from_file_location("build", folder / "build.py")
        assert spec
        assert spec.loader
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            libraries = build.build(folder)
        except build.CompilerError as error:
            self.app.display_warning(f"g3n's kernels are left out: {error}")
            return
        build_data["artifacts"] += [f"/{KERNELS}/{library.name}" for library in libraries]
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
