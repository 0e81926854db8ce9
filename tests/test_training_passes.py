"""finetune, qat and distill: what they learn and what they keep; how they stop and go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import CommandLine
from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.cachedir import CacheDir
from tinycc_nn.data import Dataset
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, Array, Attr, Graph, TensorType, Value
from tinycc_nn.ir.text import print_graph
from tinycc_nn.models import Model
from tinycc_nn.onnx import read_model
from tinycc_nn.ops import emit
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.pruning.layers import total_macs
from tinycc_nn.reference import run
from tinycc_nn.training.data import ArrayData, HookData
from tinycc_nn.training.watch import Progress, Recorder, Watcher

pytest.importorskip("torch", reason="needs PyTorch: the extra train")

LOSSLESS = "fold-constants, simplify, sink-transposes, simplify-reshapes, fold-bn, fuse-activation"
TERNARY = (
    "quantize{weight_bits=12, weights=per-channel}, quantize-interface, "
    "quantize-weights{format=ternary, error=weight, rounding=nearest, bias_correction=false}"
)
QUICK = "epochs=4, batch=32, lr=0.004, threads=1"
START = "from tinycc_nn.cli import main; main()"


class Digits:
    """The example network with a few samples and their labels."""

    def __init__(self, folder: Path) -> None:
        self.graph = read_model(folder / "digits.onnx")
        file = np.load(folder / "test.npz")
        self.name = self.graph.inputs[0].name
        shape = self.graph.inputs[0].type.shape
        self.x: Array = file["x"].astype(np.float32).reshape(-1, *shape)
        self.y: Array = file["y"]

    def context(self, store: Path | None = None, watcher: Watcher | None = None) -> Context:
        data = ArrayData(Dataset({self.name: self.x}, self.y), "test.npz")
        cache = None if store is None else CacheDir(store)
        inputs = {self.name: self.x[:100]}
        return Context(inputs, data, watcher=watcher or Watcher(), checkpoints=cache)

    def after(self, pipeline: str, context: Context | None = None) -> Graph:
        passes = parse_pipeline(f"{LOSSLESS}, {pipeline}")
        return run_pipeline(self.graph, passes, context or self.context())

    def right(self, graph: Graph) -> float:
        y = run(graph, stored_inputs(graph, {self.name: self.x}))[0]
        return float(np.mean(y.reshape(len(y), -1).argmax(axis=1) == self.y))


@pytest.fixture(scope="module")
def net(request: pytest.FixtureRequest) -> Digits:
    return Digits(Path(__file__).parents[1] / "examples" / "digits")


def weights(graph: Graph) -> list[Array]:
    layers = [op for op in graph.ops if op.name in ("conv2d", "dense")]
    return [w for op in layers if (w := op.operands[1].constant) is not None]


def test_finetune_makes_up_for_pruning_and_keeps_the_zeros(net: Digits) -> None:
    pruned = "prune-weights{ratio=0.9, criterion=magnitude, reconstruct=false}"
    before = net.after(pruned)
    recorder = Recorder(Watcher())
    after = net.after(f"{pruned}, finetune{{{QUICK}}}", net.context(watcher=recorder))
    assert net.right(after) > net.right(before) + 0.05
    for old, new in zip(weights(before), weights(after), strict=True):
        assert (new[old == 0] == 0).all() and (new != old).any()
    (curve,) = recorder.curves
    assert [p.epoch for p in curve.points] == [1, 2, 3, 4]
    assert curve.points[-1].loss < curve.points[0].loss


def test_normalized_training_keeps_zeros_and_layers_with_labels_and_a_teacher(net: Digits) -> None:
    pruned = "prune-weights{ratio=0.9, criterion=magnitude, reconstruct=false}"
    before = net.after(pruned)
    for trained in ("finetune", "distill"):
        quick = QUICK.replace("lr=0.004", "lr=0.02")
        after = net.after(f"{pruned}, {trained}{{{quick}, normalize=true}}")
        assert net.right(after) > net.right(before) + 0.05
        assert [op.name for op in after.ops if op.name != "const"] == [
            op.name for op in before.ops if op.name != "const"
        ]
        for old, new in zip(weights(before), weights(after), strict=True):
            assert (new[old == 0] == 0).all() and (new != old).any()


@pytest.mark.parametrize("passes", ["", TERNARY])
def test_distill_learns_in_bfloat16(net: Digits, passes: str) -> None:
    start = passes or "prune-weights{ratio=0.9, criterion=magnitude, reconstruct=false}"
    after = net.after(f"{start}, distill{{{QUICK}, precision=bfloat16}}")
    assert net.right(after) > net.right(net.after(start)) + 0.05


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_bfloat16_on_a_processor_without_it_is_told(
    net: Digits, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    recorder = Recorder(Watcher())
    options = "epochs=1, batch=360, threads=1, precision=bfloat16"
    net.after(f"distill{{{options}}}", net.context(watcher=recorder))
    told = any("bfloat16 is many times slower than float32" in n for n in recorder.notes)
    assert told == (capability == "AVX2")


def test_qat_learns_codes_and_keeps_their_format(net: Digits) -> None:
    before = net.after(TERNARY)
    after = net.after(f"{TERNARY}, qat{{{QUICK}}}")
    assert net.right(after) > net.right(before) + 0.05
    types = [[op.type.dtype for op in g.ops] for g in (before, after)]
    assert types[0] == types[1]
    assert before.inputs[0].type == after.inputs[0].type
    assert before.outputs[0].type == after.outputs[0].type
    changed = [
        a.type.quant != b.type.quant
        for a, b in zip(
            (op.result for op in before.ops if op.name == "conv2d"),
            (op.result for op in after.ops if op.name == "conv2d"),
            strict=True,
        )
    ]
    assert any(changed), "ranges are learned"


def test_calibrated_scales_stay(net: Digits) -> None:
    before = net.after(TERNARY)
    fixed = "steps=calibrated, ranges=calibrated, keep_zeros=false"
    after = net.after(f"{TERNARY}, qat{{{QUICK}, {fixed}}}")
    for old, new in zip(before.ops, after.ops, strict=True):
        assert old.type.quant == new.type.quant
    assert any((a != b).any() for a, b in zip(weights(before), weights(after), strict=True))


def test_weights_that_layers_share_stay_shared(net: Digits) -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType(F32, (1, 4)))
    w = graph.constant("w", np.eye(4, dtype=np.float32))
    y = emit(graph, "dense", [emit(graph, "dense", [x, w], {"act": "relu"}), w])
    graph.outputs = [emit(graph, "softmax", [y], {"axis": 1})]
    samples = np.random.default_rng(0).standard_normal((64, 1, 4)).astype(np.float32)
    data = ArrayData(Dataset({"x": samples}, samples[:, 0].argmin(axis=1)), "made up")
    (p,) = parse_pipeline(f"finetune{{{QUICK}}}")
    after = p(graph, Context(training=data))
    layers = [op for op in after.ops if op.name == "dense"]
    assert layers[0].operands[1] is layers[1].operands[1]
    assert (weights(after)[0] != np.eye(4)).any()


def test_book_entries_are_the_only_weights(net: Digits) -> None:
    book = TERNARY.replace("ternary", '"book<5>"')
    before, after = net.after(book), net.after(f"{book}, qat{{{QUICK}}}")
    for old, new in zip(before.ops, after.ops, strict=True):
        assert old.type.dtype == new.type.dtype
    assert all(w.max() < 5 for w in weights(after) if w.dtype == np.uint8)


def test_pruning_in_rounds_keeps_the_budget(net: Digits) -> None:
    graph = net.after(f"prune-iteratively{{macs=0.5, rounds=2, multiple=1, {QUICK}}}")
    assert total_macs(graph) <= 0.5 * total_macs(net.graph)
    once = net.after("prune-channels{macs=0.5, multiple=1, reconstruct=false}")
    assert net.right(graph) > net.right(once)
    labels = f"prune-iteratively{{macs=0.7, rounds=1, multiple=1, learn=labels, {QUICK}}}"
    assert net.right(net.after(labels)) > 0.5


@pytest.mark.parametrize("more", ["", ", start=random, learn=labels", ", width=0.5"])
def test_a_student_takes_fewer_macs(net: Digits, more: str) -> None:
    separable = "separable=false, width=0.5" if "width" in more else "separable=true"
    more = more.replace(", width=0.5", "")
    recorder = Recorder(Watcher())
    graph = net.after(f"student{{{separable}, {QUICK}{more}}}", net.context(watcher=recorder))
    assert total_macs(graph) < total_macs(net.graph)
    points = recorder.curves[0].points
    assert points[-1].loss < points[0].loss


def test_a_student_keeps_macs_and_separates_the_named_layers(net: Digits) -> None:
    convolutions = [op for op in net.after("dead-code").ops if op.name == "conv2d"]
    windows = [op.result.name for op in convolutions if op.operands[1].type.shape[1:3] == (3, 3)]
    layer = windows[0]
    graph = net.after(f"student{{layers=[{layer}], terms=2, macs=0.6, {QUICK}}}")
    assert total_macs(graph) <= 0.6 * total_macs(net.graph)
    (depthwise,) = [op for op in graph.ops if op.name == "conv2d" and ".depth" in op.result.name]
    assert depthwise.type.shape[-1] == 2, "the image has one channel, it goes through two filters"


@pytest.mark.parametrize(("act", "left"), [("relu", ["conv2d"]), ("relu6", ["conv2d", "clip"])])
def test_a_student_may_lose_a_branch(act: str, left: list[str]) -> None:
    graph, random = Graph("g"), np.random.default_rng(0)
    x = graph.add_input("x", TensorType(F32, (1, 4, 4, 3)))

    def conv(v: Value, size: int) -> Value:
        w = random.standard_normal((3, size, size, 3)).astype(np.float32)
        attrs: dict[str, Attr] = {"pad": (size // 2,) * 4, "act": "relu"}
        return emit(graph, "conv2d", [v, graph.constant("w", w)], attrs)

    first = conv(x, 1)
    graph.outputs = [emit(graph, "add", [conv(first, 3), first], {"act": act}, result="sum")]
    samples = random.standard_normal((32, 1, 4, 4, 3)).astype(np.float32)
    passes = parse_pipeline(f"student{{separable=false, drop=[sum], {QUICK}}}")
    after = run_pipeline(graph, passes, Context({"x": samples}))
    assert [op.name for op in after.ops if op.name != "const"] == left
    with pytest.raises(TinyccError, match="%conv2d is no residual sum"):
        run_pipeline(graph, parse_pipeline("student{drop=[conv2d]}"), Context({"x": samples}))


def test_hashed_weights_learn_their_entries(net: Digits) -> None:
    hashed, recorder = TERNARY.replace("ternary", '"hashed<256>"'), Recorder(Watcher())
    before = net.after(hashed)
    after = net.after(f"{hashed}, qat{{{QUICK}}}", net.context(watcher=recorder))
    (curve,) = recorder.curves
    assert curve.points[-1].loss < 0.9 * curve.points[0].loss
    for old, new in zip(weights(before), weights(after), strict=True):
        assert np.array_equal(old, new)


def test_distill_needs_no_labels(net: Digits) -> None:
    context = Context({net.name: net.x})
    before = net.after(TERNARY, context)
    after = net.after(f"{TERNARY}, distill{{{QUICK}}}", context)
    assert net.right(after) > net.right(before) + 0.05


def test_the_teacher_may_be_any_stage_and_inner_layers_be_matched(net: Digits) -> None:
    names = [op.result.name for op in net.after("dead-code").ops if op.name == "conv2d"]
    options = f"{QUICK}, teacher=quantize, labels=0.3, match=[{names[0]}], match_weight=1.0"
    graph = net.after(f"{TERNARY}, distill{{{options}}}")
    assert net.right(graph) > 0.5
    with pytest.raises(TinyccError, match="no pass 'quantise' came before") as e:
        net.after(f"{TERNARY}, distill{{teacher=quantise}}")
    assert e.value.hint == "did you mean 'quantize'?"
    with pytest.raises(TinyccError, match=r"match: @.* has no layer 'nothing'"):
        net.after(f"{TERNARY}, distill{{match=[nothing]}}")


class StopAt(Watcher):
    """Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.notes: list[str] = []

    def step(self, progress: Progress) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.parametrize("stop", [3, 11, 17])
def test_an_interrupted_training_ends_as_one_that_was_not(
    net: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr("tinycc_nn.training.loop.CHECKPOINT_SECONDS", 0.0)
    options = "epochs=2, batch=32, threads=1, crop=1, noise=0.1, holdout=0.2, seed=3"
    pipeline = f"{TERNARY}, qat{{{options}}}"
    wanted = print_graph(net.after(pipeline))
    interrupted = StopAt(stop)
    with pytest.raises(KeyboardInterrupt):
        net.after(pipeline, net.context(tmp_path, interrupted))
    assert "the same command goes on" in interrupted.notes[0]
    again = StopAt(0)
    assert print_graph(net.after(pipeline, net.context(tmp_path, again))) == wanted
    assert "found in the cache" in again.notes[0]
    ended = Recorder(Watcher())
    assert print_graph(net.after(pipeline, net.context(tmp_path, ended))) == wanted
    assert "has ended already" in ended.notes[0] and len(ended.curves[0].points) == 2


def test_seeds_differ(net: Digits) -> None:
    one, two = (net.after(f"finetune{{epochs=1, threads=1, seed={s}}}") for s in (1, 2))
    assert print_graph(one) != print_graph(two)


def test_a_killed_process_goes_on(digits: Path, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    passes = f"{LOSSLESS}, finetune{{epochs=12, batch=16, threads=1}}"

    def command(out: str, cache: dict[str, str]) -> subprocess.Popen[bytes]:
        arguments = ["opt", digits / "digits.onnx", "--train", digits / "test.npz", "-p", passes]
        program = [sys.executable, "-c", START, *map(str, arguments)]
        return subprocess.Popen([*program, "-o", str(tmp_path / out)], env=cache)

    killed = command("killed.tnn", env)
    limit = time.monotonic() + 60
    while not list((tmp_path / "cache").rglob("*.train")) and time.monotonic() < limit:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert command("again.tnn", env).wait() == 0
    other = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "other")}
    assert command("whole.tnn", other).wait() == 0
    assert (tmp_path / "again.tnn").read_text() == (tmp_path / "whole.tnn").read_text()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(net: Digits, tmp_path: Path) -> None:
    calls = []

    def batches() -> Iterator[tuple[Array, Array]]:
        calls.append(1)
        for i in range(0, 360, 60):
            broken = len(calls) == 4 and i == 120
            yield net.x[i : i + 60] * (np.float32(1e38) if broken else 1), net.y[i : i + 60]

    data = HookData(batches, "m:f", net.graph)
    context = Context({}, data, checkpoints=CacheDir(tmp_path))
    with pytest.raises(TinyccError, match=r"the loss is (nan|inf) in step 3 of epoch 3") as e:
        net.after("finetune{batch=60, threads=1}", context)
    assert "a lower lr than 0.001" in e.value.hint
    found = re.search(r"the network of epoch 2, the best one, is in (\S+\.tnn)", e.value.hint)
    assert found is not None
    assert net.right(Model.read(found[1]).graph()) > 0.5


def test_bad_input_is_named(net: Digits) -> None:
    def fails(pipeline: str, context: Context, message: str) -> None:
        with pytest.raises(TinyccError, match=message):
            net.after(pipeline, context)

    def given(x: Array, y: Array | None) -> Context:
        return Context({net.name: net.x}, ArrayData(Dataset({net.name: x}, y), "d.npz"))

    fails("finetune", Context(), "the pass finetune needs training data")
    fails("distill", Context(), "the pass distill needs samples to train on")
    fails("finetune", given(net.x, None), "the training data has no labels")
    fails("distill{labels=0.5}", given(net.x, None), "the training data has no labels")
    fails("finetune", given(net.x, net.y + 1), "there are labels 1 to 10")
    fails("finetune", given(net.x, net.y + 0.5), r"the labels are float64\[360\]")
    fails("finetune", given(net.x / 1000, net.y), r"the largest magnitude of .* is")
    fails("qat", net.context(), "qat: there is no int8 layer to train")
    fails("quantize, finetune", net.context(), "finetune: the network is quantized")
    fails("finetune{crop=8}", net.context(), "crop=8 of 8 rows")
    fails("finetune{epochs=0}", net.context(), "epochs must be at least 1")
    fails("distill{temperature=0}", net.context(), "temperature must be above 0")


def test_out_of_memory_says_what_to_lower(net: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr("tinycc_nn.training.loop.augmented", full)
    with pytest.raises(TinyccError, match="out of memory while training on batches of 128") as e:
        net.after("finetune", net.context())
    assert "batch=32" in e.value.hint


@pytest.fixture
def tinycc(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return CommandLine(capsys)


def test_compile_reports_samples_and_the_curve(
    tinycc: CommandLine, digits: Path, tmp_path: Path
) -> None:
    passes = f"{LOSSLESS}, quantize, quantize-interface, qat{{epochs=2, threads=1}}"
    outcome = tinycc(
        "compile", digits / "digits.onnx", "-mcpu=cortex-m4", "-o", tmp_path / "out", "-p", passes,
        "--calib", digits / "calib.npz", "--train", f"{digits / 'test.npz'}:x[:300],y[:300]",
        "--eval", f"{digits / 'test.npz'}:x[300:],y[300:]", "--no-measure",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    seen = [(d["use"], d["source"], d["samples"], d["labelled"]) for d in report["data"]]
    assert seen == [
        ("calibration", "calib.npz", 200, False),
        ("training", "test.npz:x[:300],y[:300]", 300, True),
        ("evaluation", "test.npz:x[300:],y[300:]", 60, True),
    ]
    (curve,) = report["curves"]
    assert curve["made_by"] == "qat{epochs=2, threads=1}" and len(curve["points"]) == 2
    assert "--train 'test.npz:x[:300],y[:300]'" in report["command"]
    assert (tmp_path / "out" / "digits_training.svg").read_text().count("<polyline") == 1
