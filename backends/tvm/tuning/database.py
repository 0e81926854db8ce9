"""The cost of a kernel, from records: measured, from the nearest measured layer, or estimated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.tuning.key import LayerKey, core_name
from tinycc_nn.backends.tvm.tuning.records import Record, Setting, read_records
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.cost import Basis
from tinycc_nn.target import Target

SHIPPED = Path(__file__).parents[1] / "tuned"
_OTHER_COMPILER, _OTHER_RELEASE, _OTHER_LEVEL, _OTHER_KERNEL = 1e6, 1e5, 1e4, 2.0
"""Distances: a record of the right compiler comes before all others, then the level."""

_Place = tuple[Setting, LayerKey]


@dataclass(frozen=True)
class Cost:
    """Cycles and bytes of instructions; `basis` is "tuned", "near" or "estimated"."""

    cycles: float
    text: int
    basis: Basis


class Database:
    """Records of one core. Those of another version of a kernel's source are never used."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._exact: dict[tuple[Setting, LayerKey, str, str], Record] = {}
        self._by_family: dict[tuple[str, str], dict[_Place, dict[str, Record]]] = {}
        for r in records:
            self.add(r)

    @staticmethod
    def load(target: Target, user: Path | None) -> Database:
        """The records that ship for the target's core, then those in the folder `user`."""
        name = file_name(target)
        folders = [SHIPPED] if user is None else [SHIPPED, user]
        records = [r for folder in folders for r in read_records(folder / name)]
        # Workers append in an order of chance; of equally near records the first counts.
        return Database(sorted(records, key=_order))

    def add(self, r: Record) -> None:
        self._exact[r.setting, r.layer, r.kernel, r.version] = r
        family = self._by_family.setdefault((r.layer.op, r.version), {})
        family.setdefault((r.setting, r.layer), {})[r.kernel] = r

    def find(self, setting: Setting, layer: LayerKey, name: str, kernel: Kernel) -> Record | None:
        """The measurement of just this kernel (`name` among its layer's), if there is one."""
        version = family_version(kernel.family)
        return self._exact.get((setting, layer.with_facts(kernel.facts), name, version))

    def cost(self, setting: Setting, layer: LayerKey, name: str, kernel: Kernel) -> Cost:
        """
        What was measured. Without that, the estimate times the factor by which the nearest
        record's estimate was off: a record of the same family of kernels, for the same operator,
        first with this compiler, in this release, then at this level, then by
        `LayerKey.distance`, to which another kernel of the family adds 2. Without any, the
        estimate.
        """
        found = self.find(setting, layer, name, kernel)
        if found is not None:
            return Cost(found.cycles, found.text, "tuned")
        layer = layer.with_facts(kernel.facts)
        near, least = None, inf
        groups = self._by_family.get((layer.op, family_version(kernel.family)), {})
        for (other, similar), records in groups.items():
            same = records.get(name)
            far = _far(other, setting) + (_OTHER_KERNEL if same is None else 0.0)
            if far < least and (far := far + similar.distance(layer)) < least:
                near, least = same or next(iter(records.values())), far
        if near is None:
            return Cost(kernel.cycles, kernel.text, "estimated")
        # Where values matter, they may matter to the size of the code.
        text = near.text if near.kernel == name and not kernel.facts else kernel.text
        return Cost(kernel.cycles * near.cycles / max(near.estimate, 1.0), text, "near")


def _order(r: Record) -> tuple[str, ...]:
    s = r.setting
    return s.compiler, s.level, r.layer.text, r.kernel


def _far(found: Setting, wanted: Setting) -> float:
    name, wanted_name = (s.compiler.partition("-")[0] for s in (found, wanted))
    far = 0.0 if found.level == wanted.level else _OTHER_LEVEL
    if not wanted.compiler or found.compiler == wanted.compiler:
        return far
    return far + _OTHER_RELEASE + (_OTHER_COMPILER if name != wanted_name else 0.0)


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
