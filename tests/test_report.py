"""report.json, and the limits that are checked against it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tinycc_nn.diagnostics import LimitError, TinyccError, UsageError
from tinycc_nn.limits import Limits, check_limits
from tinycc_nn.report import (
    Accuracy,
    BitExact,
    Interface,
    LayerReport,
    Metrics,
    PortReport,
    Report,
)
from tinycc_nn.target import Target

REPORT = Report(
    name="kws",
    model="kws.onnx",
    target="stm32f407",
    level="O2",
    dtype="int8",
    pipeline="quantize",
    command="tinycc-nn compile kws.onnx",
    version="0",
    toolchain="gcc 12",
    metrics=Metrics(
        arena_bytes=16000,
        arena_bound_bytes=16000,
        macs=2_000_000,
        flash_bytes=50_000,
        ram_bytes=17_000,
        stack_bytes=200,
        instructions=7_000_000,
        cycles=8_400_000,
        latency_ms=50.0,
        cycles_basis="measured on emulator, model m4",
    ),
    interface=Interface(
        (PortReport("input", "int8", (1, 49, 10, 1), 0.5, 83),),
        (PortReport("output", "float32", (1, 12)),),
        16000,
        8,
    ),
    layers=tuple(
        LayerReport(f"layer{i}", "conv2d", "direct", 100, f"kws_k{i}", 1000 * i, 2000 * (9 - i),
                    10, 20 + i, 1500 * i, ("direct", "im2col"))
        for i in range(9)
    ),
    accuracy=Accuracy("top1", 250, 0.904, 0.9),
    bit_exact=BitExact(8, 8, 0),
)  # fmt: skip
TARGET = Target.load("stm32f407")


def test_the_text_gives_the_report_back() -> None:
    assert Report.from_json(REPORT.to_json()) == REPORT
    bare = dataclasses.replace(REPORT, accuracy=None, bit_exact=None, layers=(), notes=("a",))
    assert Report.from_json(bare.to_json()) == bare


def test_the_schema_that_programs_read() -> None:
    data = json.loads(REPORT.to_json())
    assert data["schema"] == "tinycc-nn-report/1"
    assert {"model", "target", "pipeline"} <= data.keys()
    assert data["metrics"].keys() >= {
        "flash_bytes", "ram_bytes", "stack_bytes", "macs", "instructions", "cycles", "latency_ms",
        "energy_uj", "cycles_basis",
    }  # fmt: skip
    assert data["accuracy"] == {"metric": "top1", "samples": 250, "float": 0.904, "compiled": 0.9}
    assert data["bit_exact"].keys() >= {"samples", "mismatches"}
    assert data["layers"][0].keys() >= {
        "name", "op", "kernel", "macs", "instructions", "cycles", "flash_bytes",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "tinycc-nn-report/1"}', "\x00"])
def test_another_file_is_not_a_report(text: str) -> None:
    with pytest.raises(TinyccError, match="not a report of this version"):
        Report.from_json(text)


def test_a_network_within_its_limits() -> None:
    check_limits(REPORT, TARGET, Limits())
    check_limits(REPORT, TARGET, Limits(50_000, 17_200, 50.0))


@pytest.mark.parametrize(
    ("limits", "message", "largest"),
    [
        (Limits(flash=49_999), "flash is 50,000 bytes, 49,999 allowed", "12,000 bytes  layer8"),
        (Limits(ram=17_199), "RAM is 17,200 bytes, 17,199 allowed", "18,000 bytes  layer0"),
        (Limits(latency_ms=49), "latency is 50 ms, 49 allowed", "28 cycles  layer8"),
    ],
)
def test_what_is_too_large_is_named_by_layer(limits: Limits, message: str, largest: str) -> None:
    with pytest.raises(LimitError, match=message) as e:
        check_limits(REPORT, TARGET, limits)
    assert e.match(largest)
    assert str(e.value).count("(conv2d, direct)") == 5
    assert e.value.exit_code == 3


def test_the_memories_of_the_target_are_limits_too() -> None:
    small = dataclasses.replace(TARGET, flash=40_000, ram=10_000)
    with pytest.raises(LimitError) as e:
        check_limits(REPORT, small, Limits(flash=1 << 20))
    assert e.match("40,000 allowed") and e.match("10,000 allowed")


def test_a_latency_limit_needs_a_latency() -> None:
    metrics = dataclasses.replace(REPORT.metrics, latency_ms=None)
    with pytest.raises(UsageError, match="--max-latency needs the latency"):
        check_limits(dataclasses.replace(REPORT, metrics=metrics), TARGET, Limits(latency_ms=1))


def test_without_measurement_what_is_known_counts() -> None:
    metrics = Metrics(arena_bytes=16000, arena_bound_bytes=16000, macs=1)
    report = dataclasses.replace(REPORT, metrics=metrics)
    check_limits(report, TARGET, Limits(36_000, 16_000))
    with pytest.raises(LimitError, match="flash is 36,000"):
        check_limits(report, TARGET, Limits(flash=35_999))
    with pytest.raises(LimitError, match="RAM is 16,000"):
        check_limits(report, TARGET, Limits(ram=15_999))
