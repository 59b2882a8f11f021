import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_command_line_reference_is_what_help_says():
    script = (
        f"import sys; sys.path.insert(0, {str(DOCS)!r})\n"
        "import generate_cli; sys.stdout.write(generate_cli.generate())"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout.decode() == (DOCS / "cli.md").read_text("utf-8"), (
        "run: python docs/generate_cli.py"
    )
