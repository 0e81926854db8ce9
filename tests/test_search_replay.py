"""Points of a search, compiled once more: the same bytes, or a reason why not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import CommandLine
from tinycc_nn.backend import load_backend
from tinycc_nn.driver import backend_options
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.evaluate import Task, evaluator
from tinycc_nn.search.executor import Processes
from tinycc_nn.search.outcome import Outcome
from tinycc_nn.search.recipes import frame
from tinycc_nn.search.replay import PARETO, STORE
from tinycc_nn.search.results import Evaluation
from tinycc_nn.search.run import identified
from tinycc_nn.search.settings import Problem, SearchSettings
from tinycc_nn.search.store import Store

GENOME = parse_pipeline("prune-channels{macs=0.8}, quantize")
PIPELINE = print_pipeline(frame("float32").around(GENOME))


@pytest.fixture
def tinycc(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def folder(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search leaves: number 1 was measured, number 2 has failed."""
    found = tmp_path_factory.mktemp("found")
    data = tmp_path_factory.mktemp("data")
    for name in ("digits.onnx", "calib.npz", "test.npz"):
        shutil.copy(digits / name, data)
    problem = identified(
        Problem(
            str(data / "digits.onnx"),
            "nrf52840",
            calib=f"{data}/calib.npz:x[:40]",
            evaluation=f"{data}/test.npz:x[:64],y[:64]",
            records=str(found / "records"),
        )
    )
    workers = Processes(1)
    try:
        ((_, e),) = workers.run([Task(problem, PIPELINE, "measured", found / "networks")])
    finally:
        workers.close()
    assert not e.error
    with Store(found / STORE) as store:
        search = store.start(problem, SearchSettings(baseline=0.9))
        e = store.record(problem, e)
        store.record(problem, Evaluation("low-rank", "measured", error="no layer is worth it"))
        done = Outcome(search, (e,), None, 0.9, 2, 1, (), frame("float32"))
        (found / PARETO).write_text(done.to_json(store.path))
    return found


def model(folder: Path) -> Path:
    return Path(json.loads((folder / PARETO).read_text())["problem"]["model"])


def c_files(output: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in output.iterdir()}


def c_of_the_search(folder: Path) -> dict[str, bytes]:
    """The C of number 1, by the way that evaluations go."""
    with Store(folder / STORE) as store:
        here = evaluator(store.problem_of(1), folder / "networks")
    options = backend_options(replace(here.request, pipeline=PIPELINE))
    made = load_backend("tvm").compile(here.graph(PIPELINE), here.target, options)
    return {name: text.encode() for name, text in made.source.files.items()}


def test_the_bytes_and_figures_of_the_search(
    folder: Path, tinycc: CommandLine, tmp_path: Path
) -> None:
    net = model(folder)
    done = tinycc("compile", net, "--from-search", f"{folder}#1", "-o", tmp_path / "a")
    assert done.code == 0, done.err
    replayed = c_files(tmp_path / "a")
    with Store(folder / STORE) as store:
        e = store.evaluation(1)
    assert e.report is not None
    report = json.loads(replayed["report.json"])
    assert report["metrics"]["cycles"] == pytest.approx(e.metrics.cycles, rel=0.01)  # other samples
    assert report["metrics"]["flash_bytes"] == e.metrics.flash_bytes
    assert report["command"] == e.report.command
    own = c_of_the_search(folder)
    assert own and {n: replayed[n] for n in own} == own

    moved = tmp_path / "moved"
    shutil.copytree(net.parent, moved)
    (tmp_path / "alone").mkdir()
    shutil.copy(folder / PARETO, tmp_path / "alone")
    more = ("--calib", f"{moved}/calib.npz:x[:40]", "-o", tmp_path / "b")
    done = tinycc("compile", moved / net.name, "--from-search", f"{tmp_path}/alone#1", *more)
    assert done.code == 0, done.err
    assert c_files(tmp_path / "b") == replayed

    calib = ("--calib", f"{net.parent}/calib.npz:x[:40]", "--target", "nrf52840")
    made = ("--records", folder / "records", "-o", tmp_path / "c")
    done = tinycc("compile", net, "-p", PIPELINE, *calib, *made)
    assert done.code == 0, done.err
    assert c_files(tmp_path / "c") == replayed


def test_the_pipeline_is_printed_without_a_compilation(folder: Path, tinycc: CommandLine) -> None:
    more = ("--from-search", f"{folder / STORE}#1", "--print-pipeline")
    assert tinycc("compile", model(folder), *more).out == f"{PIPELINE}\n"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("#7", 2, "there is no evaluation 7"),
        ("#2", 1, "evaluation 2 has failed: no layer is worth it"),
        ("", 2, "hint: one of: 1"),
        ("#x", 2, "no number of a pipeline behind a #"),
        ("/elsewhere#1", 2, "there is no search"),
    ],
)
def test_what_is_not_there(
    folder: Path, tinycc: CommandLine, tmp_path: Path, text: str, code: int, message: str
) -> None:
    output = tmp_path / "out"
    done = tinycc("compile", model(folder), "--from-search", f"{folder}{text}", "-o", output)
    assert (done.code, output.exists()) == (code, False)
    assert message in done.err


def test_another_model_or_other_data(folder: Path, tinycc: CommandLine, tmp_path: Path) -> None:
    net = model(folder)
    search = ("--from-search", f"{folder}#1", "-o", tmp_path / "out")
    shutil.copytree(net.parent, tmp_path / "data")
    other = tmp_path / "data" / "digits.onnx"
    other.write_bytes(net.read_bytes() + b"\x32\x02\x0a\x00")  # one more, empty field
    done = tinycc("compile", other, *search)
    assert done.code == 1 and "the model is not that of the search" in done.err
    done = tinycc("compile", net, *search, "--calib", f"{net.parent}/calib.npz:x[:41]")
    assert done.code == 1 and "the calibration data is not that of the search" in done.err
    np.savez(tmp_path / "t.npz", x=np.zeros((2, 64), np.float32))
    done = tinycc("compile", net, *search, "--train", tmp_path / "t.npz")
    assert done.code == 2 and "--train: the search had none" in done.err
    done = tinycc("compile", net, *search, "--calib", tmp_path / "none.npz")
    assert done.code == 2 and "give --calib" in done.err


def test_what_the_search_decided_is_not_given_again(
    folder: Path, tinycc: CommandLine, tmp_path: Path
) -> None:
    search = ("--from-search", f"{folder}#1", "-o", tmp_path / "out")
    done = tinycc("compile", model(folder), *search, "-O3")
    assert done.code == 2 and "-O and --from-search are both given" in done.err
    assert tinycc("compile", "-", *search).code == 2


def test_another_installation_gives_the_pipeline(
    folder: Path, tinycc: CommandLine, tmp_path: Path
) -> None:
    with Store(folder / STORE) as store:
        problem, e = store.problem_of(1), store.evaluation(1)
    digests = {**dict(problem.digests), "compiler": "another one"}
    with Store(tmp_path / "s.sqlite") as store:
        store.record(replace(problem, digests=tuple(digests.items())), e)
    search = ("--from-search", f"{tmp_path / 's.sqlite'}#1", "-o", tmp_path / "out")
    done = tinycc("compile", model(folder), *search)
    assert done.code == 1 and "the C compiler is another one now" in done.err
    assert f"-p '{PIPELINE}'" in done.err


def test_other_measurements_of_kernels(folder: Path, tinycc: CommandLine, tmp_path: Path) -> None:
    with Store(folder / STORE) as store:
        problem, e = store.problem_of(1), store.evaluation(1)
    assert e.report is not None
    digests = tuple({**dict(problem.digests), "records": "others"}.items())
    first, *layers = e.report.layers
    other = replace(e.report, layers=(replace(first, kernel="another"), *layers))
    with Store(tmp_path / "s.sqlite") as store:
        store.record(replace(problem, digests=digests), replace(e, report=other))
    search = ("--from-search", f"{tmp_path / 's.sqlite'}#1", "-o", tmp_path / "out")
    done = tinycc("compile", model(folder), *search, "--no-measure")
    assert done.code == 1 and "other kernels were chosen than in the search" in done.err
    with Store(tmp_path / "t.sqlite") as store:
        store.record(replace(problem, digests=digests), e)
    search = ("--from-search", f"{tmp_path / 't.sqlite'}#1", "-o", tmp_path / "out")
    assert tinycc("compile", model(folder), *search, "--no-measure").code == 0
