"""The benchmark of number formats: it keeps its rows, and its tables say what the rows say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import formats

    return formats


def run(bench: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["formats.py", "--data", ".", "-o", str(out)])
    bench.main()
    return out.read_text()


def test_rows_are_kept(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def tasks(_: object) -> Iterator[object]:
        def first() -> dict[str, float]:
            done.append("first")
            return {"score": 90.0, "bytes": 100}

        def second() -> dict[str, float]:
            done.append("second")
            if len(done) == 2:
                raise KeyboardInterrupt
            return {"score": 80.0, "bytes": 50}

        yield bench.Task("score", "kws", "int8", "channel optimized", first)
        yield bench.Task("score", "kws", "i4", "channel optimized", second)

    monkeypatch.setattr(bench, "tasks", tasks)
    out = tmp_path / "f.md"
    text = run(bench, out, monkeypatch)
    assert "| `int8` | 90.00 |" in text and "`i4`" not in text
    with out.with_suffix(".jsonl").open("a") as f:
        f.write('{"key": "score | kws | i4 |')  # cut off
        f.write("\n")
    text = run(bench, out, monkeypatch)
    assert done == ["first", "second", "second"]
    assert "| `i4` | 80.00 |" in text


def test_what_is_said_of_posits(bench: ModuleType) -> None:
    from format_tables import document  # type: ignore[import-not-found, unused-ignore]

    rows = {
        f"score | ic | {text} | channel nearest": {"score": value, "bytes": 10}
        for text, value in {"i5": 86.0, "posit<5,0>": 87.0, "posit<5,1>": 88.5, "posit<5,2>": 80.0}.items()
    }  # fmt: skip
    rows |= {
        f"cycles | ic | {text} | -O2": {"cycles": c, "flash": 1, "constants": 4 * c, "differ": 0}
        for text, c in {"float32": 400, "int8": 100}.items()
    }  # fmt: skip
    text = document(rows, 10)
    assert "| 5 | - |" in text  # not all settings are measured
    for setting in ("channel optimized", "tensor optimized"):
        rows |= {
            f"score | ic | i5 | {setting}": {"score": 80.0, "bytes": 10},
            f"score | ic | posit<5,1> | {setting}": {"score": 80.5, "bytes": 10},
        }
    assert "| 5 | - | - | - | - | +1.17 | - | - | - | - |" in document(rows, 10)
    assert (
        "IC, 5 bits, channel nearest: best posit es = 1 (88.50), fixed point 86.00: posits better"
        in text
    )
    assert "4.00 times smaller constants than float32 and is 4.00 times faster" in text
