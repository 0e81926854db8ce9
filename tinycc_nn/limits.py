"""Whether a compiled network fits: the target's memories, and what the user allows."""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.diagnostics import LimitError, UsageError
from tinycc_nn.report import LayerReport, Report
from tinycc_nn.target import Target

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of flash (text + rodata + data of a minimal application), bytes of RAM (data + bss +
    stack), milliseconds of one inference. None is no limit beyond the target's."""

    flash: int | None = None
    ram: int | None = None
    latency_ms: float | None = None


def check_limits(report: Report, target: Target, limits: Limits) -> None:
    """Raise LimitError that names what is too large, and the largest layers.

    Raises UsageError for a latency limit where there is no latency. What was not measured counts
    with what is known of it: the constants for flash, the arena for RAM.
    """
    m = report.metrics
    known_flash = sum(layer.constant_bytes for layer in report.layers)
    flash = known_flash if m.flash_bytes is None else m.flash_bytes
    ram = (m.arena_bytes if m.ram_bytes is None else m.ram_bytes) + (m.stack_bytes or 0)
    problems: list[str] = []
    if flash > (allowed := _smaller(limits.flash, target.flash)):
        sizes = [(layer.flash_bytes or layer.constant_bytes, layer) for layer in report.layers]
        problems.append(_too_large("flash", flash, allowed, "bytes", sizes))
    if ram > (allowed := _smaller(limits.ram, target.ram)):
        sizes = [(layer.arena_bytes, layer) for layer in report.layers]
        problems.append(_too_large("RAM", ram, allowed, "bytes", sizes))
    if limits.latency_ms is not None and _latency(report) > limits.latency_ms:
        assert m.latency_ms is not None
        sizes = [(layer.cycles or 0, layer) for layer in report.layers]
        problems.append(
            _too_large("latency", m.latency_ms, limits.latency_ms, "ms", sizes, unit="cycles")
        )
    if problems:
        hint = "try -Os or -O3, int8 (--calib), or a larger target: tinycc-nn targets"
        raise LimitError("\n".join(problems), f"{report.name} on {target.name}", hint)


def _smaller(limit: int | None, of_target: int) -> int:
    return of_target if limit is None else min(limit, of_target)


def _latency(report: Report) -> float:
    if report.metrics.latency_ms is None:
        hint = "give --target NAME, a device with a clock, and let it be measured"
        raise UsageError("--max-latency needs the latency, which is not known", hint=hint)
    return report.metrics.latency_ms


def _too_large(
    what: str,
    found: float,
    allowed: float,
    unit_of_both: str,
    sizes: list[tuple[int, LayerReport]],
    unit: str = "bytes",
) -> str:
    lines = [
        f"{what} is {found:,.10g} {unit_of_both}, {allowed:,.10g} allowed; the largest layers:"
    ]
    for size, layer in sorted(sizes, key=lambda s: -s[0])[:_SHOWN]:
        lines.append(f"  {size:>12,} {unit}  {layer.name} ({layer.op}, {layer.kernel})")
    return "\n".join(lines)
