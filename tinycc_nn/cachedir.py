"""A content-addressed cache of files in the user's cache directory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

_MAX_BYTES = 512 << 20


def content_key(parts: Iterable[str]) -> str:
    """A name for what `parts` determine: 40 hex digits, different where any part differs."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:40]


def _user_cache() -> Path:
    return Path(platformdirs.user_cache_dir("tinycc-nn", appauthor=False)) / "builds"


def user_networks() -> Path:
    """The folder in the user's cache where searches keep what passes made of networks."""
    return _user_cache().parent / "networks"


def user_records() -> Path:
    """The folder in the user's data where tuning keeps what it measured."""
    return Path(platformdirs.user_data_dir("tinycc-nn", appauthor=False)) / "tuned"


@dataclass(frozen=True, slots=True)
class CacheDir:
    """Files by content key. Losing any or all of them costs time only.

    Concurrent processes may share it: files appear whole or not at all.
    """

    root: Path = field(default_factory=_user_cache)

    def path(self, key: str, suffix: str) -> Path:
        """Where the file of that key is, or would be."""
        return self.root / key[:2] / f"{key}{suffix}"

    def get(self, key: str, suffix: str) -> bytes | None:
        """The file's content, or None."""
        try:
            return self.path(key, suffix).read_bytes()
        except OSError:
            return None

    def put(self, key: str, suffix: str, data: bytes) -> Path | None:
        """Keep `data`; the path, or None where the directory cannot be written."""
        path = self.path(key, suffix)
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            return None
        if key.startswith("00"):  # one key in 256: often enough, and not a matter of chance
            self.prune()
        return path

    def prune(self, max_bytes: int = _MAX_BYTES) -> None:
        """Remove the oldest files until at most `max_bytes` are left."""
        found = []
        for path in self.root.glob("*/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
        left = sum(size for _, _, size in found)
        for _, path, size in sorted(found):
            if left <= max_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            left -= size
