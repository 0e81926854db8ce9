"""A target is data: `targets/<name>.toml` describes a core, its memories and what a cycle costs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tinycc_nn.diagnostics import TinyccError, UsageError, nearest

CPUS = (
    "cortex-m0",
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m55",
)
"""The cores a target may have, by the compiler's `-mcpu` name."""

_FPUS = ("none", "sp", "dp")
_REQUIRED = {"cpu": str, "fpu": str, "dsp": bool, "mve": bool, "flash": int, "ram": int}
_OPTIONAL = {
    "clock": int,
    "energy": float,
    "energy_source": str,
    "description": str,
    "source": str,
}


@dataclass(frozen=True, slots=True)
class Target:
    """A device, or the generic device of a core.

    `flash` and `ram` are in bytes (one contiguous region each), `clock` in hertz (None for a
    generic core, which has no clock of its own), `energy` in nanojoules a cycle (None: unknown;
    `energy_source` states measurement and supply). `fpu` is "none", "sp" (single precision) or
    "dp" (single and double precision).
    """

    name: str
    cpu: str
    fpu: str
    dsp: bool
    mve: bool
    flash: int
    ram: int
    clock: int | None = None
    energy: float | None = None
    energy_source: str = ""
    description: str = ""
    source: str = ""

    @staticmethod
    def load(name: str) -> Target:
        """The target of that name. Raises UsageError with the nearest name if there is none."""
        if name not in target_names():
            raise UsageError(f"unknown target '{name}'", hint=nearest(name, target_names()))
        text = files("tinycc_nn.targets").joinpath(f"{name}.toml").read_text("utf-8")
        return parse_target(name, text)

    @staticmethod
    def for_cpu(cpu: str) -> Target:
        """The generic target of a core (`-mcpu`): no limits on flash and RAM, no clock.

        Raises UsageError with the nearest name for an unknown core.
        """
        if cpu not in CPUS:
            raise UsageError(f"unknown core '{cpu}'", hint=nearest(cpu, CPUS))
        return Target.load(cpu)

    @property
    def generic(self) -> bool:
        """Whether this is the generic target of a core and not a device."""
        return self.name == self.cpu

    def latency_ms(self, cycles: float) -> float | None:
        """Milliseconds that `cycles` take at the target's clock; None without a clock."""
        return None if self.clock is None else 1e3 * cycles / self.clock

    def energy_uj(self, cycles: float) -> float | None:
        """Microjoules that `cycles` take; None where the energy of a cycle is unknown."""
        return None if self.energy is None else 1e-3 * cycles * self.energy


@cache
def target_names() -> tuple[str, ...]:
    """All names that `Target.load` takes, sorted."""
    entries = files("tinycc_nn.targets").iterdir()
    return tuple(sorted(e.name[:-5] for e in entries if e.name.endswith(".toml")))


def parse_target(name: str, text: str) -> Target:
    """A target from the text of its TOML file.

    Raises TinyccError for text that is not TOML, and for an unknown, missing, mistyped or
    impossible field.
    """
    where = f"{name}.toml"
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TinyccError(f"not a TOML file: {error}", where) from None
    known = _REQUIRED | _OPTIONAL
    for key, value in fields.items():
        if key not in known:
            raise TinyccError(f"unknown field '{key}' of a target", where, nearest(key, known))
        if not _has_type(value, known[key]):
            wanted = known[key].__name__
            raise TinyccError(f"field '{key}' must be {wanted}, not {value!r}", where)
    for key in _REQUIRED:
        if key not in fields:
            raise TinyccError(f"field '{key}' is missing", where, "see the other targets")
    target = Target(name=name, **fields)
    _check_values(target, where)
    return target


def _has_type(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _check_values(target: Target, where: str) -> None:
    if target.cpu not in CPUS:
        raise TinyccError(f"unknown core '{target.cpu}'", where, nearest(target.cpu, CPUS))
    if target.fpu not in _FPUS:
        raise TinyccError(f"unknown fpu '{target.fpu}'", where, nearest(target.fpu, _FPUS))
    for field in ("flash", "ram", "clock", "energy"):
        value = getattr(target, field)
        if value is not None and value <= 0:
            raise TinyccError(f"field '{field}' must be positive, not {value}", where)
    if target.energy is not None and not target.energy_source:
        hint = "add energy_source: who measured it, and at which supply"
        raise TinyccError("field 'energy' without its source", where, hint)
