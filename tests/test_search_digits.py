"""Whole searches on the example: processes that are killed, workers, machines, exit codes, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinycc_nn.ir.text import print_graph
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.search import prefixes
from tinycc_nn.search.cluster import Cluster
from tinycc_nn.search.evaluate import Evaluator, Task, evaluate
from tinycc_nn.search.executor import Executor, Processes
from tinycc_nn.search.results import Evaluation
from tinycc_nn.search.run import identified, run_search
from tinycc_nn.search.settings import Budget, Problem, SearchSettings
from tinycc_nn.search.store import Store

SETTINGS = SearchSettings(seed=2, population=4, budget=Budget(evaluations=10))


@pytest.fixture(scope="module")
def problem(digits: Path) -> Problem:
    return identified(
        Problem(
            str(digits / "digits.onnx"),
            "nrf52840",
            calib=f"{digits}/calib.npz:x[:40]",
            evaluation=f"{digits}/test.npz",
            part=32,
        )
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def front(problem: Problem, store: Path, cache: Path, executor: Executor) -> list[Evaluation]:
    """The front of a search, without what differs from one run to another."""
    try:
        with Store(store) as opened:
            found = run_search(problem, SETTINGS, opened, executor, cache)
    finally:
        executor.close()
    assert not found.bugs
    return [Evaluation(e.pipeline, e.stage, e.network, e.metrics) for e in found.front]


@pytest.fixture(scope="module")
def expected(
    problem: Problem, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Evaluation]:
    found = front(problem, tmp_path_factory.mktemp("one") / "s.sqlite", cache, Processes(1))
    assert len(found) >= 2
    return found


def test_the_number_of_workers_does_not_matter(
    problem: Problem, cache: Path, tmp_path: Path, expected: list[Evaluation]
) -> None:
    assert front(problem, tmp_path / "s.sqlite", cache, Processes(2)) == expected


def test_dask_gives_the_same_front(
    problem: Problem, cache: Path, tmp_path: Path, expected: list[Evaluation]
) -> None:
    assert front(problem, tmp_path / "s.sqlite", cache, Cluster(None, 2)) == expected


def fragile(task: Task) -> Evaluation:
    """Kills its process: once for one pipeline, always for another; hangs for a third."""
    if task.pipeline == "always" or (task.pipeline == "once" and _first(task)):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.pipeline == "hangs":
        time.sleep(60)
    return Evaluation(task.pipeline, task.stage, "net")


def _first(task: Task) -> bool:
    try:
        (task.cache / "seen").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.mark.parametrize("make", [Processes, lambda n, **more: Cluster(None, n, **more)])
def test_workers_that_die_or_hang_are_replaced(
    make: Callable[..., Executor], tmp_path: Path
) -> None:
    problem = Problem("digits.onnx", "nrf52840")
    names = ["fine", "once", "always", "hangs", "also fine"]
    tasks = [Task(problem, name, "predicted", tmp_path) for name in names]
    executor = make(2, task_seconds=1.0, work=fragile)
    try:
        answers = dict(executor.run(tasks))
    finally:
        executor.close()
    assert sorted(answers) == list(range(5))
    assert [bool(answers[i].error) for i in range(5)] == [False, False, True, True, False]


def command(digits: Path, output: Path, *more: str) -> list[str]:
    """A search on the command line that takes some seconds."""
    call = "import sys; from tinycc_nn.cli import main; sys.exit(main())"
    return [
        sys.executable, "-c", call, "search", str(digits / "digits.onnx"),
        "--target", "nrf52840", "--calib", f"{digits}/calib.npz:x[:40]",
        "--eval", f"{digits}/test.npz", "--budget", "9evals", "--population", "4",
        "--seed", "4", "-j", "2", "-o", str(output), *more,
    ]  # fmt: skip


def points(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((output / "pareto.json").read_text())["points"]
    return [{k: v for k, v in p.items() if k != "id"} for p in found]


def test_killed_and_resumed(digits: Path, tmp_path: Path) -> None:
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    running = subprocess.Popen(command(digits, killed), env=env, start_new_session=True)
    until = time.monotonic() + 120
    while _evaluations(killed) < 3:
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)  # with its workers
    running.wait()
    assert not (killed / "pareto.json").exists()
    kept = _evaluations(killed)
    again = subprocess.run(command(digits, killed), env=env, capture_output=True, text=True)
    assert again.returncode == 2 and "--resume" in again.stderr
    subprocess.run(command(digits, killed, "--resume"), env=env, check=True)
    subprocess.run(command(digits, whole), env=env, check=True)
    assert kept >= 3 and _evaluations(killed) == 9
    assert points(killed) == points(whole)
    files = sorted(p.read_text() for p in (killed / "pipelines").iterdir())
    assert files == sorted(f"{p['pipeline']}\n" for p in points(killed))


def _evaluations(output: Path) -> int:
    path = output / "search.sqlite"
    if not path.exists():
        return 0
    with Store(path) as store:
        return sum(len(store.trials(s)) for s in store.searches())


def test_limits_that_cannot_be_met_exit_with_3(digits: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(digits, tmp_path / "out", "--max-flash", "4K", "--budget", "4evals"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "flash:" in done.stderr and "the nearest is number" in done.stderr
    found = json.loads((tmp_path / "out" / "pareto.json").read_text())
    assert not found["limits_met"] and found["exceeded"]["flash"] > 0


def test_what_fails_is_an_evaluation_with_a_reason(problem: Problem, cache: Path) -> None:
    found = evaluate(Task(problem, "quantize-weights", "predicted", cache))
    assert "there is no int8 layer" in found.error and found.stage == "predicted"


def test_pipelines_that_end_in_the_same_network_are_evaluated_once(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(Task(problem, "fold-constants, dead-code", "predicted", tmp_path))
    monkeypatch.setattr(Evaluator, "_predicted", lambda self, graph: pytest.fail("twice"))
    again = evaluate(Task(problem, "fold-constants, dead-code, dead-code", "predicted", tmp_path))
    assert not again.error
    assert (again.network, again.metrics) == (first.network, first.metrics)


def test_what_was_computed_is_taken_from_disk_by_another_process(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefixes, "_WORTH_SECONDS", 0.0)
    whole = Evaluator(problem, tmp_path).graph("fold-bn, quantize")
    monkeypatch.setattr(Quantize, "apply", lambda *given: pytest.fail("twice"))
    other = Evaluator(problem, tmp_path)
    assert print_graph(other.graph("fold-bn, quantize")) == print_graph(whole)


def test_ways_to_the_same_network_go_on_together(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Evaluator(problem, tmp_path)
    first = here.graph("fold-bn, quantize")
    monkeypatch.setattr(Quantize, "apply", lambda *given: pytest.fail("twice"))
    assert here.graph("fold-bn, fold-bn, quantize") is first
