"""The cost of a kernel, from records: measured, from the nearest measured layer, or estimated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tuning.key import LayerKey, core_name
from tinycc_nn.backends.tvm.tuning.records import Record, Setting, read_records
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.target import Target

SHIPPED = Path(__file__).parents[1] / "tuned"
_OTHER_COMPILER, _OTHER_RELEASE, _OTHER_LEVEL = 1000.0, 100.0, 10.0
"""Distances that any record of the right compiler, its release, or the level comes before."""


@dataclass(frozen=True)
class Cost:
    """Cycles and bytes of instructions; `basis` is "tuned", "near" or "estimated"."""

    cycles: float
    text: int
    basis: str


class Database:
    """Records of one core. Those of another version of a kernel's source are never used."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._exact: dict[tuple[Setting, LayerKey, str, str], Record] = {}
        self._by_kernel: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
        for r in records:
            self.add(r)

    @staticmethod
    def load(target: Target, user: Path | None) -> Database:
        """The records that ship for the target's core, then those in the folder `user`."""
        name = file_name(target)
        folders = [SHIPPED] if user is None else [SHIPPED, user]
        return Database(r for folder in folders for r in read_records(folder / name))

    def add(self, r: Record) -> None:
        self._exact[r.setting, r.layer, r.kernel, r.version] = r
        self._by_kernel[r.layer.op, r.kernel, r.version].append(r)

    def find(self, setting: Setting, layer: LayerKey, name: str, kernel: Kernel) -> Record | None:
        """The measurement of just this kernel (`name` among its layer's), if there is one."""
        return self._exact.get((setting, layer, name, family_version(kernel.family)))

    def cost(self, setting: Setting, layer: LayerKey, name: str, kernel: Kernel) -> Cost:
        """
        What was measured; without that, the estimate, corrected by how far it was off where this
        kernel was measured on the most similar layer: first with this compiler in this release,
        then at this level, then by `LayerKey.distance`. Without any record, the estimate.
        """
        found = self.find(setting, layer, name, kernel)
        if found is not None:
            return Cost(found.cycles, found.text, "tuned")
        records = self._by_kernel.get((layer.op, name, family_version(kernel.family)), ())
        reachable = [(d, i) for i, r in enumerate(records) if (d := _far(r, setting, layer)) < inf]
        if not reachable:
            return Cost(kernel.cycles, kernel.text, "estimated")
        near = records[min(reachable)[1]]
        return Cost(kernel.cycles * near.cycles / near.estimate, near.text, "near")


def _far(r: Record, setting: Setting, layer: LayerKey) -> float:
    name, _, release = r.setting.compiler.partition("-")
    wanted, _, wanted_release = setting.compiler.partition("-")
    far = _OTHER_COMPILER if wanted and name != wanted else 0.0
    far += _OTHER_RELEASE if wanted and release != wanted_release else 0.0
    far += _OTHER_LEVEL if r.setting.level != setting.level else 0.0
    return far + r.layer.distance(layer) if r.estimate > 0 else inf


def file_name(target: Target) -> str:
    """The file with the records of the target's core."""
    return f"{core_name(target)}.jsonl"


def record_names(kernels: Sequence[Kernel]) -> list[str]:
    """What each kernel of a layer is called in records."""
    names: list[str] = []
    for i, k in enumerate(kernels):
        before = sum(k.name == other.name for other in kernels[:i])
        names.append(f"{k.name}#{before + 1}" if before else k.name)
    return names
