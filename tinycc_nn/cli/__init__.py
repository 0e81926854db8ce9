"""The command line: every module of this package is a command, unless its name starts with `_`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tinycc_nn.cli._main import run_command

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process.

    Exit codes: 0 done, 1 diagnosed error, 2 usage, 3 constraints can't be met, 4 internal error,
    130 interrupted.
    """
    sys.exit(run_command(sys.argv[1:] if arguments is None else list(arguments)))
