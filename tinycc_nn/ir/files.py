"""A graph on disk: `NAME.tnn` holds the text, `NAME.npz` beside it the arrays by digest."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.parse import parse_graph
from tinycc_nn.ir.text import graph_blobs, print_graph
from tinycc_nn.ir.types import Blob


def read_graph(path: Path) -> Graph:
    """Read a graph; TinyccError if a file is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise TinyccError(f"can't read the graph: {e}", str(path)) from None
    return parse_graph(text, read_blobs(path.with_suffix(".npz")), str(path))


def read_blobs(path: Path) -> dict[str, Blob]:
    """The arrays of a graph by digest; empty if there is no such file."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            found = [Blob(k, data[k]) for k in data.files]
    except (OSError, ValueError, zipfile.BadZipFile) as e:
        raise TinyccError(f"can't read the constants: {e}", str(path)) from None
    return {b.digest: b for b in found}


def write_graph(graph: Graph, path: Path) -> None:
    """Write `path` (.tnn) and the arrays beside it (.npz); the same graph gives the same bytes."""
    path.with_suffix(".npz").write_bytes(blobs_npz(graph))
    path.write_text(print_graph(graph), encoding="utf-8")


def blobs_npz(graph: Graph) -> bytes:
    """An .npz archive of the graph's arrays, named by digest, with constant time stamps."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for digest, blob in sorted(graph_blobs(graph).items()):
            data = io.BytesIO()
            np.save(data, blob.array, allow_pickle=False)
            z.writestr(zipfile.ZipInfo(f"{digest}.npy", (1980, 1, 1, 0, 0, 0)), data.getvalue())
    return out.getvalue()
