"""Training data: arrays, functions, and what is wrong with them; what passes say they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context, Pass, Stage
from tinycc_nn.training.data import HookData, TrainingData, load_training
from tinycc_nn.training.picture import curves_svg
from tinycc_nn.training.watch import Curve, CurvePoint, Recorder, Watcher


def network() -> Graph:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 4)))
    g.outputs = [emit(g, "relu", [x])]
    return g


@pytest.fixture
def arrays(tmp_path: Path) -> TrainingData:
    np.savez(tmp_path / "d.npz", x=np.arange(40).reshape(10, 4), y=np.arange(10))
    return load_training(str(tmp_path / "d.npz"), network())


def epoch(data: TrainingData, size: int, seed: int = 0) -> list[Array]:
    return [b.inputs["x"] for b in data.batches(size, np.random.default_rng(seed))]


def test_an_epoch_of_arrays_has_every_sample_once(arrays: TrainingData) -> None:
    first = np.concatenate(epoch(arrays, 5))
    assert sorted(first[:, 0, 0]) == list(range(0, 40, 4))
    assert [len(b) for b in epoch(arrays, 4)] == [4, 4]
    assert [len(b) for b in epoch(arrays, 64)] == [10]
    assert (np.concatenate(epoch(arrays, 5, 1)) != first).any()
    (batch,) = arrays.batches(10, np.random.default_rng(0))
    assert batch.labels is not None
    assert (batch.inputs["x"][:, 0, 0] == 4 * batch.labels).all()


def test_a_function_gives_batches_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
import numpy as np
def batches():
    for i in range(5):
        yield np.full((3, 4), i, np.uint8), np.full(3, i)
"""
    (tmp_path / "my_batches.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    data = load_training("my_batches:batches", network())
    assert (data.samples, data.labelled, data.source) == (15, True, "my_batches:batches")
    assert [len(b) for b in epoch(data, 4)] == [4, 4, 4]
    assert np.concatenate(epoch(data, 5))[:, 0, 0].tolist() == sorted([*range(5)] * 3)
    assert [len(b) for b in epoch(data, 99)] == [15]
    assert data.digest() == load_training("my_batches:batches", network()).digest()
    with pytest.raises(TinyccError, match="has no function 'batch'"):
        load_training("my_batches:batch", network())
    with pytest.raises(TinyccError, match="can't import the module 'their_batches'"):
        load_training("their_batches:batches", network())


def test_a_wrong_batch_is_named() -> None:
    def hook(*given: object) -> HookData:
        return HookData(lambda: iter(given), "m:f", network())

    good = np.zeros((2, 4))
    with pytest.raises(TinyccError, match=r"the samples have the shape \[5\]") as e:
        hook(good, np.zeros((2, 5)))
    assert e.value.where == "m:f, batch 1"
    with pytest.raises(TinyccError, match="different numbers of samples and labels"):
        hook((good, np.zeros(3)))
    with pytest.raises(TinyccError, match="some batches have labels"):
        hook(good, (good, np.zeros(2)))
    with pytest.raises(TinyccError, match="yields no batch"):
        hook()
    with pytest.raises(TinyccError, match="1 of 2 samples have NaN"):
        hook(np.array([[0.0] * 4, [np.nan] * 4]))


@dataclass(frozen=True)
class Curious(Pass):
    needs_training: ClassVar[bool] = True
    reads_history: ClassVar[bool] = True
    seen: ClassVar[list[tuple[Stage, ...]]] = []

    def apply(self, graph: Graph, context: Context) -> None:
        self.seen.append(context.history)


@dataclass(frozen=True)
class Idle(Pass):
    def apply(self, graph: Graph, context: Context) -> None:
        pass


def test_a_pass_gets_the_stages_and_training_data(arrays: TrainingData) -> None:
    given = network()
    with pytest.raises(TinyccError, match="the pass curious needs training data"):
        run_pipeline(given, (Curious(),))
    run_pipeline(given, (Idle(), Curious()), Context(training=arrays))
    (history,) = Curious.seen
    assert [s.before for s in history] == ["idle", "curious"]
    assert history[0].graph is given


def test_a_pass_that_needs_torch_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Learner(Idle):
        needs_torch: ClassVar[bool] = True

    def missing(name: str) -> Iterator[None] | None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", missing)
    with pytest.raises(TinyccError, match="needs PyTorch") as e:
        Learner()(network())
    assert e.value.hint == "pip install 'tinycc-nn[train]'"


def test_curves_are_kept_and_drawn() -> None:
    recorder = Recorder(Watcher())
    points = tuple(CurvePoint(i, 1 / i, 2 / i, 0.5) for i in (1, 2, 3))
    for n in (1, 2, 3):
        recorder.curve(Curve("qat{epochs=3}", points[:n]))
    recorder.curve(Curve("distill<1>", (CurvePoint(1, 7.0),)))
    assert [len(c.points) for c in recorder.curves] == [3, 1]
    svg = curves_svg(recorder.curves)
    assert svg.startswith("<svg") and svg.count("<polyline") == 3
    assert "distill&lt;1&gt;" in svg and "50.00 % right" in svg
