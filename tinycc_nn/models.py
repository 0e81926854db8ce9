"""A network as the user gives it: an ONNX file, IR text (.tnn), or either from standard input."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Model:
    """The bytes of a model. `path` is None for standard input.

    `companions` are the files beside it that hold its arrays.
    """

    path: Path | None
    data: bytes
    companions: tuple[Path, ...] = ()

    @staticmethod
    def read(text: str) -> Model:
        """The model of that path, or of standard input for `-`; TinyccError if unreadable."""
        if text == STDIN:
            data = sys.stdin.buffer.read()
            return Model(None, data)
        path = Path(text)
        try:
            data = path.read_bytes()
        except OSError as e:
            what = "there is no such file" if isinstance(e, FileNotFoundError) else e.strerror
            raise TinyccError(f"can't read the model: {what}", text) from None
        return Model(path, data, _companions(path))

    @property
    def stem(self) -> str:
        """The file's name without its suffix; "network" for standard input."""
        return self.path.stem if self.path else "network"

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that was read."""
        return (*((self.path,) if self.path else ()), *self.companions)

    def contents(self) -> list[bytes]:
        """What determines the graph: the bytes of the model and of its companions."""
        return [self.data, *(p.read_bytes() for p in self.companions)]

    def graph(self, input_dims: Mapping[str, int] | None = None) -> Graph:
        """The verified graph; symbolic dimensions of an ONNX model take their size from
        `input_dims`. TinyccError says what is wrong, and where."""
        from tinycc_nn.ops import verify

        if self.is_onnx:
            from tinycc_nn.onnx import read_model

            return read_model(self.data if self.path is None else self.path, dict(input_dims or {}))
        if input_dims:
            raise TinyccError("IR text has no symbolic dimensions", hint="leave out --input-dim")
        graph = self._parse()
        verify(graph)
        return graph

    @property
    def is_onnx(self) -> bool:
        """Whether it is taken for an ONNX model, not for IR text."""
        if self.path is not None:
            return self.path.suffix != ".tnn"
        return not self.data.lstrip().startswith((b"graph", b"//"))

    def _parse(self) -> Graph:
        from tinycc_nn.ir.files import read_graph
        from tinycc_nn.ir.parse import parse_graph

        if self.path is not None:
            return read_graph(self.path)
        try:
            return parse_graph(self.data.decode(), {}, "<stdin>")
        except UnicodeDecodeError:
            raise TinyccError("neither ONNX nor IR text", "<stdin>") from None


def _companions(path: Path) -> tuple[Path, ...]:
    arrays = path.with_suffix(".npz")
    return (arrays,) if path.suffix == ".tnn" and arrays.exists() else ()
