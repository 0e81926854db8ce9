"""Measured costs of kernels, as lines of JSON that are only ever appended."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.backends.tvm.tuning.key import LayerKey
from tinycc_nn.diagnostics import TinyccError


@dataclass(frozen=True)
class Setting:
    """What a layer was built for: core, C compiler with its major version, level."""

    core: str
    compiler: str
    level: str


@dataclass(frozen=True)
class Record:
    """
    kernel:   its name; the second one of the same name has `#2` behind.
    version:  of the family at the time of the measurement.
    estimate: of the cycles, at that time.
    text:     bytes of instructions.
    """

    setting: Setting
    layer: LayerKey
    kernel: str
    version: str
    cycles: int
    instructions: int
    text: int
    estimate: float


def parse_lines(lines: Iterable[str]) -> Iterator[Record]:
    """The records of the lines; one that is cut off, or isn't a record, is passed over."""
    for line in lines:
        try:
            data = json.loads(line)
            setting = Setting(str(data["core"]), str(data["compiler"]), str(data["level"]))
            layer = LayerKey(str(data["layer"]))
            for kernel, (version, cycles, instructions, text, estimate) in data["kernels"].items():
                yield Record(
                    setting, layer, kernel, str(version),
                    int(cycles), int(instructions), int(text), float(estimate),
                )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def read_records(path: Path) -> list[Record]:
    """The records of a file in order; none if there is no file."""
    try:
        return list(parse_lines(path.read_text("utf-8", errors="replace").splitlines()))
    except OSError:
        return []


def to_lines(records: Iterable[Record]) -> list[str]:
    """One line for each layer and setting, sorted; the last record of a kernel counts."""
    groups: dict[tuple[str, str, str, str], dict[str, Record]] = defaultdict(dict)
    for r in records:
        s = r.setting
        groups[s.core, s.compiler, s.level, r.layer.text][r.kernel] = r
    return [_line(key, dict(sorted(found.items()))) for key, found in sorted(groups.items())]


def _line(key: tuple[str, str, str, str], records: dict[str, Record]) -> str:
    core, compiler, level, layer = key
    kernels = {
        name: [r.version, r.cycles, r.instructions, r.text, round(r.estimate, 1)]
        for name, r in records.items()
    }
    data = {"core": core, "compiler": compiler, "level": level, "layer": layer, "kernels": kernels}
    return json.dumps(data, separators=(",", ":"))


class RecordFile:
    """A file that records are appended to, each whole and at once: a killed process loses at most
    the line that it was writing. TinyccError if it can't be written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record) -> None:
        """Write one record."""
        data = (to_lines([record])[0] + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    data = b"\n" + data
                os.write(handle, data)
            finally:
                os.close(handle)
        except OSError as e:
            hint = "give another folder for the measurements, or make it writable"
            message = f"can't keep a measurement: {e.strerror}"
            raise TinyccError(message, str(self.path), hint) from None
