"""The page of a search: complete, with nothing from elsewhere, and drawn by a browser without error."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.searching import PROBLEM, RECIPES, Shuffled, made_up, search
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.report import Interface, LayerReport, Report
from tinycc_nn.report import Metrics as Sizes
from tinycc_nn.search.ablation import Variant, ablation, variants, winner
from tinycc_nn.search.axes import Axis, short
from tinycc_nn.search.convergence import convergence
from tinycc_nn.search.evaluate import Task
from tinycc_nn.search.fitness import Judge
from tinycc_nn.search.outcome import Outcome, outcome
from tinycc_nn.search.page import render_page
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.results import Evaluation, Metrics
from tinycc_nn.search.settings import Bounds, SearchSettings
from tinycc_nn.search.store import Store
from tinycc_nn.target import Target

TARGET = Target.load(PROBLEM.target)
SETTINGS = SearchSettings(
    seed=5, population=8, baseline=0.9, bounds=Bounds(flash=80_000, accuracy_drop=0.5)
)
LAYERS = tuple(
    LayerReport(f"layer<{i}>", "conv2d", "gemm", 900 * i, f"net_{i}", 100 * i, 64 * i, cycles=1000 * i)
    for i in (1, 2, 3)
)  # fmt: skip
REPORT = Report(
    "net", "net.onnx", "nrf52840", "O2", "int8", "", "", "", "", Sizes(192, 192, 5400),
    Interface((), (), 192, 8), LAYERS,
)  # fmt: skip


def found_by(store: Store, settings: SearchSettings = SETTINGS) -> tuple[Outcome, list[Evaluation]]:
    """A search that is made up, with a report for each network that was measured."""
    search(store, settings, 48)
    started = store.start(PROBLEM, settings)
    asked = [t.evaluation for t in store.trials(started)]
    asked = [replace(e, report=REPORT) if e.stage == "measured" else e for e in asked]
    return outcome(started, asked, TARGET, 0.88, Frame((), ())), asked


def page_of(store: Store, settings: SearchSettings = SETTINGS) -> tuple[str, Outcome, int]:
    """The page, what it shows, and the number of evaluations that have a result."""
    found, asked = found_by(store, settings)
    best = winner(found, Judge(found.search.settings, TARGET))
    assert best is not None
    tried = ablation(found, best, store, Shuffled(), Path())
    text = render_page(found, asked, TARGET, store.path, tried)
    return text, found, sum(not e.error for e in asked)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "search.sqlite")


def marks(text: str) -> dict[str, int]:
    return {
        "pareto": text.count('<svg class="pareto"'),
        "points": len(re.findall(r'class="point mark', text)),
        "front": len(re.findall(r'class="point mark front"', text)),
        "titles": len(re.findall(r'class="point mark [^>]*><title>number \d+ \(', text)),
        "rings": len(re.findall(r'<circle class="ring" cx="[\d.]+" cy="[\d.]+" r="9"', text)),
        "layers": len(re.findall(r'class="bar"', text)),
        "lived": len(re.findall(r'class="hover"[^>]*><title>\d+ layer', text)),
    }


def expected(found: Outcome, count: int) -> dict[str, int]:
    fronts = 3 * len(found.front)
    return {"pareto": 3, "points": 3 * count, "front": fronts, "titles": 3 * count, "rings": 3, "layers": 3, "lived": 3}  # fmt: skip


@pytest.mark.parametrize("metric", ["top1", "mse"])
def test_every_evaluation_is_a_mark(store: Store, metric: str) -> None:
    settings = SETTINGS if metric == "top1" else replace(SETTINGS, metric="mse", baseline=0.3)
    text, found, count = page_of(store, settings)
    assert found.front
    assert marks(text) == expected(found, count)
    assert "layer&lt;2&gt;" in text and "layer<2>" not in text
    assert f"--from-search {store.path}#NUMBER" in text


def test_nothing_is_from_elsewhere(store: Store) -> None:
    text, _, _ = page_of(store)
    assert not re.findall(r"https?://|<script|<link|@import|url\(|\bsrc=|\bhref=", text)
    assert "default-src 'none'" in text


def test_limits_that_are_not_met_are_named(store: Store) -> None:
    text, found, _ = page_of(store, replace(SETTINGS, bounds=Bounds(flash=900)))
    assert not found.front and "No network within the limits was found" in text
    assert re.search(r"exceeds: flash by [\d.e+]+ %", text)


def test_a_search_without_a_result_has_a_page(store: Store) -> None:
    started = store.start(PROBLEM, SETTINGS)
    failed = Evaluation("quantize", "predicted", error="no data", id=1)
    found = outcome(started, [failed], TARGET, 0.88, Frame((), ()))
    assert winner(found, Judge(SETTINGS, TARGET)) is None
    assert "No pipeline has a result" in render_page(found, [failed], TARGET, store.path)


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("needs chromium")
    return found


def browse(page: Path, text: str) -> subprocess.CompletedProcess[str]:
    """The page in a browser without a network: its elements, and what the console says."""
    page.write_text(text)
    command = [
        chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_a_browser_draws_it_without_errors(store: Store, tmp_path: Path) -> None:
    text, found, count = page_of(store)
    done = browse(tmp_path / "page.html", text)
    assert "CONSOLE" not in done.stderr
    assert marks(done.stdout) == expected(found, count)
    other = text.replace("<h1>", '<img src="http://localhost/picture.png" alt=""><h1>')
    assert "CONSOLE" in browse(tmp_path / "page.html", other).stderr  # the page's own policy


def test_variants_leave_one_pass_out_or_turn_the_order_round() -> None:
    text = print_pipeline(RECIPES[1])
    prune, quantize = (str(p) for p in RECIPES[1])
    assert variants(text, Frame((), ())) == (
        Variant(f"without {prune}", quantize),
        Variant(f"without {quantize}", prune),
        Variant("in the reverse order", f"{quantize}, {prune}"),
    )
    assert [v.label for v in variants("quantize", Frame((), ()))] == ["without quantize"]


def test_variants_are_measured_once_and_kept(store: Store) -> None:
    found, asked = found_by(store)
    best = max((e for e in asked if e.stage == "measured"), key=lambda e: len(e.pipeline))
    said: list[str] = []
    first = ablation(found, best, store, executor := Shuffled(), Path(), said.append)
    assert executor.answered > 0 and len(said) == executor.answered + 1
    for variant, e in first:
        assert e.id and e.reached("measured")
        task = Task(PROBLEM, variant.pipeline, "measured", Path())
        assert (e.metrics, e.error) == ((m := made_up(task)).metrics, m.error)
    assert ablation(found, best, store, again := Shuffled(), Path()) == first
    assert again.answered == 0


def test_the_winner_is_the_fastest_that_is_good_enough(store: Store) -> None:
    found, _ = found_by(store)
    rows = [(0.9, 900), (0.895, 700), (0.85, 100)]
    front = tuple(
        Evaluation(f"p{i}", "measured", metrics=Metrics(accuracy=a, cycles=c, flash_bytes=9, ram_bytes=9))
        for i, (a, c) in enumerate(rows)
    )  # fmt: skip
    for drop, best in ((None, 1), (0.06, 2), (0.0, 0)):
        settings = replace(SETTINGS, bounds=Bounds(accuracy_drop=drop))
        now = replace(found, front=front, search=replace(found.search, settings=settings))
        assert winner(now, Judge(settings, TARGET)) == front[best]


def test_the_dominated_volume_grows(store: Store) -> None:
    found, asked = found_by(store)
    steps = convergence(asked, Judge(found.search.settings, TARGET))
    volumes = [v for _, v in steps]
    assert volumes == sorted(volumes) and 0 < volumes[0] < volumes[-1] <= 1
    assert [n for n, _ in steps] == sorted({n for n, _ in steps}) and steps[-1][0] <= len(asked)
    assert convergence([e for e in asked if e.error], Judge(SETTINGS, TARGET)) == []


def test_axes() -> None:
    even = Axis.over("flash", [10_000, 14_000], 60, 460)
    assert [t for _, t in even.ticks()] == ["10 k", "11 k", "12 k", "13 k", "14 k"]
    assert even.at(0) == 60 and even.at(10**9) == 460 and not even.holds(10**9)
    log = Axis.over("cycles", [1000, 100_000], 60, 460)
    assert log.log and [t for _, t in log.ticks()] == ["1 k", "3 k", "10 k", "30 k", "100 k"]
    assert log.at(10_000) == 260
    assert Axis.over("same", [5.0, 5.0], 0, 100).at(5.0) == 50
    assert Axis.over("none", [], 0, 100).ticks()
    whole = Axis("layers", 0.5, 2.5, 0, 100, whole=True)
    assert [t for _, t in whole.ticks()] == ["1", "2"]
    assert [short(v) for v in (0.5, 1234.0, 5e6, 2e9)] == ["0.5", "1.234 k", "5 M", "2 G"]
