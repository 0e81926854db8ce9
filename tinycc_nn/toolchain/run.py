"""Run a compiler: its message becomes the diagnostic."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tinycc_nn.diagnostics import TinyccError

_SECONDS = 600
_LINES = 30


def run_compiler(command: Sequence[str], directory: Path, what: str) -> str:
    """Run `command` in `directory` and return what it wrote to stdout.

    Raises TinyccError with the first lines of the compiler's own message if it fails.
    """
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except OSError as error:
        raise TinyccError(f"cannot run {command[0]}: {error.strerror}", what) from None
    except subprocess.TimeoutExpired:
        raise TinyccError(f"{command[0]} took more than {_SECONDS} s", what) from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        shown = "\n".join(lines[:_LINES])
        raise TinyccError(f"the C compiler failed:\n{shown}", what)
    return done.stdout
