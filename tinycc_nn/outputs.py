"""Files that appear whole or not at all, and the Makefile rule that names what they depend on."""

from __future__ import annotations

import io
import os
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycc_nn.diagnostics import TinyccError

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def write_directory(directory: Path, files: Mapping[str, str | bytes]) -> None:
    """Write all `files` (name -> content) into `directory`, which is made if there is none.

    Everything is written beside its place and then renamed, so that an error or an interrupt
    leaves the old files or the new ones and nothing else. TinyccError if it can't be written.
    """
    made = _missing(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_into(directory, files)
    except OSError as e:
        _remove(made)
        what = e.strerror or str(e)
        hint = "choose another directory with -o, or make this one writable"
        raise TinyccError(f"can't write the output: {what}", str(directory), hint) from None
    except BaseException:
        _remove(made)
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write one file, whole or not at all; TinyccError if it can't be written."""
    write_directory(path.parent, {path.name: content})


def _write_into(directory: Path, files: Mapping[str, str | bytes]) -> None:
    if blocked := next((n for n in files if (directory / n).is_dir()), None):
        raise IsADirectoryError(0, f"{blocked} is a directory")
    stage = Path(tempfile.mkdtemp(prefix=".tinycc-nn-", dir=directory))
    try:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (stage / name).write_bytes(data)
        with _uninterrupted():
            for name in files:
                os.replace(stage / name, directory / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _missing(directory: Path) -> list[Path]:
    """The folders that `mkdir(parents=True)` would make, innermost first."""
    chain = [directory, *directory.parents]
    return [p for p in chain if not p.exists()]


def _remove(made: Iterable[Path]) -> None:
    for path in made:
        with suppress(OSError):
            path.rmdir()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C for the moment of the renames, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def arrays_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An .npz archive; the same arrays give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _LONG_AGO), data.getvalue())
    return out.getvalue()


def depfile(target: str, dependencies: Iterable[Path]) -> str:
    """The Makefile rule `target: dependencies`, as `gcc -MD` writes it; each file once.

    `target` is in Makefile syntax already (`-MT`), the dependencies are escaped here.
    """
    lines = [f"{target}:", *(escape_make(str(p)) for p in dict.fromkeys(dependencies))]
    return " \\\n  ".join(lines) + "\n"


def escape_make(name: str) -> str:
    """A file name as it stands in a Makefile rule."""
    return name.replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ")
