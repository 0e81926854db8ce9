"""The way of a search: it depends on the seed only, whatever interrupts it or shares its store."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.searching import PROBLEM, RECIPES, SPACE, Shuffled, search
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.search.fitness import Correction, Fitness, Judge, nondominated
from tinycc_nn.search.hypervolume import hypervolume
from tinycc_nn.search.methods import make_method
from tinycc_nn.search.outcome import outcome
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.results import Evaluation, Metrics
from tinycc_nn.search.settings import Bounds, Method, SearchSettings
from tinycc_nn.search.store import Store
from tinycc_nn.target import Target

SETTINGS = SearchSettings(seed=5, population=8, baseline=0.9)
METHODS: tuple[Method, ...] = ("genetic", "random", "optuna")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "search.sqlite")


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_answers_does_not_matter(store: Store, tmp_path: Path, method: Method) -> None:
    settings = replace(SETTINGS, method=method)
    one = search(store, settings, 40)
    other = search(Store(tmp_path / "other.sqlite"), settings, 40, Shuffled(3))
    assert one == other
    assert len({e.pipeline for e in one}) == 40
    assert {e.stage for e in one} >= {"predicted", "measured"}
    assert one != search(store, replace(settings, seed=6), 40)


@pytest.mark.parametrize("after", [0, 3, 8, 10, 21, 37])
def test_an_interrupted_search_goes_on_to_the_same_end(
    store: Store, tmp_path: Path, after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(store, SETTINGS, 32, Shuffled(most=after))
    kept = Shuffled()
    resumed = search(store, SETTINGS, 32, kept)
    whole = Shuffled()
    assert resumed == search(Store(tmp_path / "whole.sqlite"), SETTINGS, 32, whole)
    assert kept.answered == whole.answered - after  # nothing was lost


def test_a_larger_budget_continues(store: Store, tmp_path: Path) -> None:
    search(store, SETTINGS, 20)
    more = search(store, SETTINGS, 40)
    assert more == search(Store(tmp_path / "whole.sqlite"), SETTINGS, 40)


def test_searches_that_share_a_store_go_their_own_way(store: Store, tmp_path: Path) -> None:
    shared = Shuffled()
    search(store, replace(SETTINGS, bounds=Bounds(flash=40_000)), 32, shared)
    alone = search(Store(tmp_path / "alone.sqlite"), SETTINGS, 32, whole := Shuffled())
    assert search(store, SETTINGS, 32, less := Shuffled()) == alone
    assert less.answered < whole.answered


def test_the_front_of_the_genetic_search_is_measured_and_within_limits(store: Store) -> None:
    settings = replace(SETTINGS, bounds=Bounds(flash=60_000, accuracy_drop=0.4))
    seen = search(store, settings, 48)
    target = Target.load(PROBLEM.target)
    found = outcome(store.start(PROBLEM, settings), seen, target, 0.9, Frame((), ()))
    assert found.front
    for e in found.front:
        assert e.stage == "measured" and e.metrics.flash_bytes is not None
        assert e.metrics.flash_bytes <= 60_000 and (e.metrics.accuracy or 0) >= 0.5
    found.check()


def test_a_limit_that_cannot_be_met_says_what_binds(store: Store) -> None:
    settings = replace(SETTINGS, bounds=Bounds(flash=900, ram=10**6))
    seen = search(store, settings, 32)
    target = Target.load(PROBLEM.target)
    found = outcome(store.start(PROBLEM, settings), seen, target, 0.9, Frame((), ()))
    with pytest.raises(LimitError, match=r"flash: .* % above the limit") as error:
        found.check()
    assert "the nearest is number" in error.value.hint and "ram" not in error.value.message
    unmeasured = [e.seen_at("judged") for e in seen[:2]]
    with pytest.raises(TinyccError, match="none of 2 pipelines could be measured"):
        outcome(store.start(PROBLEM, settings), unmeasured, target, 0.9, Frame((), ())).check()


def test_the_weighted_sum_has_one_best(store: Store) -> None:
    settings = replace(SETTINGS, weights=(("cycles", 1.0),), objectives=("cycles", "flash"))
    seen = search(store, settings, 40)
    best = outcome(
        store.start(PROBLEM, settings), seen, Target.load("nrf52840"), 0.9, Frame((), ())
    )
    (only,) = best.front
    cycles = [e.metrics.cycles for e in seen if e.metrics.cycles]
    assert only.metrics.cycles == min(cycles)


def test_predictions_are_compared_after_correction() -> None:
    known = Metrics(predicted_cycles=100.0, cycles=120, predicted_flash=5.0, flash_bytes=1005)
    assert Correction.of([known, Metrics(predicted_cycles=7.0)]) == Correction(1.2, 1000.0, 0.0)


def test_what_may_keep_a_limit_is_not_passed_over_for_a_prediction() -> None:
    def network(predicted: float, flash: int | None = None) -> Evaluation:
        metrics = Metrics(predicted_flash=predicted, flash_bytes=flash, accuracy=0.9)
        return Evaluation("", "measured" if flash else "judged", metrics=metrics)

    settings = replace(SETTINGS, objectives=("flash",), bounds=Bounds(flash=1000))
    seen = [network(500, 510), network(700, 800), network(990), network(991), network(960, 1001)]
    found = Judge(settings, Target.load("nrf52840")).fitness(seen)
    assert [f.violation > 0 for f in found] == [False, False, False, True, True]
    assert found[2].values == (990 + 41,), "objectives are what is likely"


def test_limits_come_before_objectives() -> None:
    fine, better = Fitness((3.0, 3.0)), Fitness((2.0, 3.0))
    near, far = Fitness((0.0, 0.0), 0.1), Fitness((0.0, 0.0), 0.2)
    assert better.dominates(fine) and fine.dominates(near) and near.dominates(far)
    assert not fine.dominates(fine)
    assert nondominated([fine, near, better, Fitness((3.0, 2.0)), far]) == [2, 3]
    assert nondominated([far, near]) == [1] and nondominated([]) == []


def test_accuracy_limits_of_both_metrics() -> None:
    target = Target.load("nrf52840")
    top1 = SearchSettings(bounds=Bounds(accuracy_drop=0.01), baseline=0.9)
    mse = replace(top1, metric="mse", baseline=10.0)
    assert Judge(top1, target).allowed_loss() == pytest.approx(0.11)
    assert Judge(mse, target).allowed_loss() == pytest.approx(10.1)
    assert Judge(mse, target).loss(Metrics(accuracy=3.0)) == 3.0


def test_hypervolume_of_known_fronts() -> None:
    assert hypervolume([], (1.0, 1.0)) == 0
    assert hypervolume([(0.0, 0.5), (0.5, 0.0), (0.6, 0.6)], (1.0, 1.0)) == pytest.approx(0.75)
    assert hypervolume([(2.0, 0.0)], (1.0, 1.0)) == 0
    cube = [(0.0, 0.0, 0.5), (0.5, 0.0, 0.0), (0.0, 0.5, 0.0)]
    assert hypervolume(cube, (1.0, 1.0, 1.0)) == pytest.approx(7 / 8)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_begin_with_the_recipes(method: Method) -> None:
    first = make_method(replace(SETTINGS, method=method), SPACE, RECIPES).ask()
    assert [print_pipeline(g) for g in first[:2]] == [print_pipeline(g) for g in RECIPES]
    assert len(first) == 8
