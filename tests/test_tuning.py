"""Tuning on the emulated core: workers that die, a process that is killed, what is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, save_dense
from tests.support.small_networks import chain
from tinycc_nn.backend import BackendOptions, Effort, Tunable, TuningStep, load_backend
from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.backends.tvm.kernels.generic import Generic
from tinycc_nn.backends.tvm.tuning.measure import Task, WrongResultError, measure_kernel
from tinycc_nn.backends.tvm.tuning.one_layer import layer_of, one_layer
from tinycc_nn.backends.tvm.tuning.records import read_records
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.report import Report
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target
from tinycc_nn.workers import Failed, run_tasks

M3 = Target.for_cpu("cortex-m3")
ROOT = Path(__file__).parents[1]


def work(n: int) -> int:
    """What workers do: numbers that kill them, that hang, that fail."""
    if n == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 1:
        time.sleep(60)
    if n == 2:
        raise ValueError("two")
    return n * n


def test_a_worker_that_dies_takes_only_its_task_along() -> None:
    answers = dict(run_tasks(work, [3, 0, 2, 4, 5], 2))
    assert answers == {
        0: 9, 1: Failed("the worker ended with -9", died=True), 2: Failed("ValueError: two"), 3: 16, 4: 25,
    }  # fmt: skip


def test_a_task_that_hangs_fails() -> None:
    (answer,) = [a for _, a in run_tasks(work, [1], 1, task_seconds=0.5)]
    assert answer == Failed("it took more than 0.5 s", died=True)


def test_the_time_is_kept() -> None:
    start = time.monotonic()
    assert list(run_tasks(work, [1, 1, 1], 2, until=start + 1)) == []
    assert time.monotonic() - start < 5


def beat(file: str) -> int:
    """What a worker does until it ends: write how often it has."""
    for n in range(600):
        Path(file).write_text(str(n))
        time.sleep(0.1)
    return 0


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "beats"
    code = f"""
from tests.test_tuning import beat
from tinycc_nn.workers import run_tasks
list(run_tasks(beat, [{str(file)!r}], 1))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not file.exists():
        assert parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    time.sleep(1)
    before = file.read_text()
    time.sleep(1)
    assert file.read_text() == before


def options(folder: Path) -> BackendOptions:
    return BackendOptions("net", records=folder)


def tune(folder: Path, seconds: float | None = None) -> tuple[int, int, int, list[TuningStep]]:
    seen: list[TuningStep] = []
    backend = load_backend("tvm")
    assert isinstance(backend, Tunable)
    graph = chain(3, 4, 4, size=5, kernel=1)
    done = backend.tune(graph, M3, options(folder), Effort(seconds, 2), seen.append)
    assert not done.failures
    return done.measured, done.known, done.left, seen


def test_tuning_measures_every_kernel_once(tmp_path: Path) -> None:
    measured, known, left, seen = tune(tmp_path)
    assert (known, left) == (0, 0) and measured == len(seen) > 2
    assert {s.done for s in seen} == set(range(1, measured + 1))
    assert tune(tmp_path)[:3] == (0, measured, 0)
    graph = chain(3, 4, 4, size=5, kernel=1, seed=9, zero=-5)
    records = {(r.layer, r.kernel): r for r in read_records(tmp_path / "cortex-m3.jsonl")}
    assert len(records) == measured
    backend = load_backend("tvm")
    chosen = backend.compile(graph, M3, BackendOptions("net", "O3", records=tmp_path)).layers
    assert {layer.basis for layer in chosen} == {"near"}, "of level O2"
    (compiler,) = {r.setting.compiler for r in records.values()}
    known_options = BackendOptions("net", "O2", compiler=compiler, records=tmp_path)
    chosen = backend.compile(graph, M3, known_options).layers
    assert {layer.basis for layer in chosen} == {"tuned"}
    assert all(layer.expected_cycles in {r.cycles for r in records.values()} for layer in chosen)


def test_measurements_are_the_same_again() -> None:
    graph = one_layer(steps(chain(3, 4, size=5))[0])
    kernels = candidates(layer_of(graph), M3)
    task = Task(graph, 0, family_version(kernels[0].family), M3, None, "O2")
    first = measure_kernel(task)
    assert first == measure_kernel(task)
    assert first.cycles > first.instructions > first.text > 0


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = one_layer(steps(chain(3, 4, size=5))[0])
    other = steps(chain(3, 4, size=5, seed=1))[0]
    (wrong,) = Generic().candidates(other, M3)
    module = "tinycc_nn.backends.tvm.tuning.measure"

    def wrong_candidates(*_: object) -> list[Kernel]:
        return [wrong]

    monkeypatch.setattr(f"{module}.candidates", wrong_candidates)
    monkeypatch.setattr(f"{module}.family_version", lambda _: "v")
    with pytest.raises(WrongResultError, match="generic does not compute"):
        measure_kernel(Task(graph, 0, "v", M3, None, "O2"))


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "tune.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tests.test_tuning import tune\n"
        "if __name__ == '__main__':\n"
        f"    tune(Path({str(tmp_path)!r}))\n"
    )
    path = tmp_path / "cortex-m3.jsonl"
    process = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env=environment())
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and len(read_records(path)) >= 2):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    kept = len({(r.layer, r.kernel) for r in read_records(path)})
    measured, known, left, _ = tune(tmp_path)
    assert known >= kept and measured + known > known and left == 0
    assert tune(tmp_path)[0] == 0


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_core_without_a_model_of_its_cycles(tmp_path: Path) -> None:
    backend = load_backend("tvm")
    assert isinstance(backend, Tunable)
    with pytest.raises(TinyccError, match="no model of the cycles of the cortex-m55"):
        backend.tune(
            chain(3, 4), Target.for_cpu("cortex-m55"), options(tmp_path), Effort(), lambda _: None
        )


@pytest.fixture
def tinycc(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return CommandLine(capsys)


def test_the_command_tunes_and_compile_uses_it(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx", features=5)
    done = tinycc("tune", model, "-mcpu=cortex-m3", "-j", "1")
    assert done.code == 0, done.err
    assert "kernels measured, 0 were known" in done.out
    assert (tmp_path / "data" / "tinycc-nn" / "tuned" / "cortex-m3.jsonl").is_file()
    assert tinycc("compile", model, "-mcpu=cortex-m3", "-o", tmp_path / "out").code == 0
    report = Report.from_json((tmp_path / "out" / "report.json").read_text())
    assert [layer.basis for layer in report.layers] == ["tuned"]


def test_o3_tunes_what_is_missing(tinycc: CommandLine, tmp_path: Path) -> None:
    model = save_dense(tmp_path / "m.onnx", features=6)
    common = ("compile", model, "-mcpu=cortex-m3", "-o", tmp_path / "out", "--tune-budget", "1m")
    done = tinycc(*common, "-O3", "--records", tmp_path / "mine")
    assert done.code == 0, done.err
    assert (tmp_path / "mine" / "cortex-m3.jsonl").is_file()
    report = Report.from_json((tmp_path / "out" / "report.json").read_text())
    assert [layer.basis for layer in report.layers] == ["tuned"]
    refused = tinycc(*common)
    assert refused.code == 2 and "--tune-budget needs -O3" in refused.err


@pytest.mark.parametrize("text", ["0", "-1m", "5x", "m"])
def test_a_budget_that_is_none(tinycc: CommandLine, tmp_path: Path, text: str) -> None:
    model = save_dense(tmp_path / "m.onnx")
    done = tinycc("tune", model, "-mcpu=cortex-m3", "--budget", text)
    assert done.code == 2
    assert f"'{text}' is not a value of --budget" in done.err and "15m" in done.err
