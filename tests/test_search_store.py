"""The store of a search: what was handed over stays, and later stages replace earlier ones."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.search.results import Evaluation, Metrics
from tinycc_nn.search.settings import Bounds, Budget, Problem, SearchSettings
from tinycc_nn.search.store import Store

PROBLEM = Problem("digits.onnx", "cortex-m4", input_dims=(("n", 1),), digests=(("model", "ab"),))
SETTINGS = SearchSettings(
    seed=3,
    weights=(("cycles", 0.5),),
    bounds=Bounds(flash=1000, accuracy_drop=0.01),
    budget=Budget(evaluations=10),
)
PREDICTED = Evaluation("fold-bn", "predicted", "net", Metrics(accuracy=0.5), seconds=1.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "new" / "search.sqlite")


def test_settings_and_problem_come_back(store: Store) -> None:
    first = store.start(PROBLEM, SETTINGS)
    assert (first.problem, first.settings) == (PROBLEM, SETTINGS)
    assert store.start(PROBLEM, SETTINGS) == first
    other = store.start(PROBLEM, SearchSettings(seed=4))
    assert [s.id for s in store.searches()] == [first.id, other.id]


def test_a_problem_is_known_by_contents_not_by_place() -> None:
    moved = Problem("/there/digits.onnx", "cortex-m4", input_dims=(("n", 1),), digests=(("model", "ab"),))  # fmt: skip
    assert moved.key == PROBLEM.key
    assert Problem("digits.onnx", "cortex-m4", digests=(("model", "cd"),)).key != PROBLEM.key


def test_a_later_stage_replaces_and_an_earlier_one_does_not(store: Store) -> None:
    first = store.record(PROBLEM, PREDICTED)
    assert store.find(PROBLEM, "fold-bn") == first
    measured = Evaluation("fold-bn", "measured", "net", Metrics(accuracy=0.5, cycles=7))
    again = store.record(PROBLEM, measured)
    assert (again.id, again.stage, again.metrics.cycles) == (first.id, "measured", 7)
    assert store.record(PROBLEM, PREDICTED) == again
    assert store.same_network(PROBLEM, "net") == again
    assert store.problem_of(again.id) == PROBLEM


def test_what_later_stages_know_is_not_seen_earlier() -> None:
    known = Metrics(accuracy_part=0.5, accuracy=0.4, held_out=0.3, predicted_cycles=9.0, cycles=8)
    failed = Evaluation("fold-bn", "measured", "net", known, error="too large")
    early = failed.seen_at("predicted")
    assert (early.stage, early.error) == ("predicted", "")
    assert early.metrics == Metrics(accuracy_part=0.5, predicted_cycles=9.0)
    assert failed.seen_at("judged").metrics.accuracy == 0.4
    assert failed.seen_at("measured") == failed
    assert not PREDICTED.reached("judged") and failed.reached("measured")


def test_a_larger_budget_is_the_same_search(store: Store) -> None:
    first = store.start(PROBLEM, SETTINGS)
    store.progress(first, 5.0, ended=True)
    assert store.start(PROBLEM, SETTINGS).ended
    more = store.start(PROBLEM, replace(SETTINGS, budget=Budget(evaluations=20)))
    assert (more.id, more.seconds, more.ended) == (first.id, 5.0, False)


def test_trials_in_order_seen_by_another_process(store: Store) -> None:
    search = store.start(PROBLEM, SETTINGS)
    failed = store.record(PROBLEM, Evaluation("quantize", "predicted", error="no data"))
    fine = store.record(PROBLEM, PREDICTED)
    store.add_trial(search, 1, 0, fine)
    store.add_trial(search, 0, 0, failed)
    store.progress(search, 12.5, ended=True)
    with Store(store.path) as other:
        assert [t.evaluation for t in other.trials(search)] == [failed, fine]
        assert (other.search(search.id).seconds, other.search(search.id).ended) == (12.5, True)


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no search 7"):
        store.search(7)
    with pytest.raises(UsageError, match="no evaluation 7"):
        store.evaluation(7)
    (tmp_path / "text").write_text("not a database, but longer than its header" * 9)
    with pytest.raises(TinyccError, match="can't open the search store"):
        Store(tmp_path / "text")
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(TinyccError, match="version 99"):
        Store(newer)
