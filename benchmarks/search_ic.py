"""Image classification with training: the search from the hand-made pipelines, and these beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search_bench import COLUMNS, FRAME, Bench, accuracy, orders, row

from tinycc_nn.cli._table import Table, markdown
from tinycc_nn.search.results import Evaluation
from tinycc_nn.search.settings import Bounds, Budget, Problem, SearchSettings
from tinycc_nn.search.starts import read_starts

PIPELINES = Path(__file__).parent / "pipelines"
STARTS = (
    "ic-int8",
    "ic-flash-40k",
    "ic-flash-40k-half",
    "ic-pruned-50",
    "ic-fast-6m",
    "ic-fast-3m5",
    "student-from-teacher",
)
"""Files of `PIPELINES`: the hand-made ones that the search starts from and is compared with."""

SMALL = 40 * 1024
"""Bytes of flash of the search for the smallest part."""

PART = 512
"""Images on which a network is judged first, of the search for the smallest part. The accuracy on
128 of them has a standard error of 3 points; networks of one size differ by less."""

POPULATION = 16
LONGEST = 6 * 3600.0
"""Seconds that an evaluation, which may train, may take."""


@dataclass(frozen=True)
class Limit:
    """What is asked for: at most so many points below float, so many cycles and bytes."""

    says: str
    points: float | None = None
    cycles: int | None = None
    flash: int | None = None

    def kept_by(self, e: Evaluation, baseline: float) -> bool:
        m = e.metrics
        assert m.cycles is not None and m.flash_bytes is not None
        return (
            (self.points is None or accuracy(e) >= baseline - self.points / 100)
            and (self.cycles is None or m.cycles <= self.cycles)
            and (self.flash is None or m.flash_bytes <= self.flash)
        )


LIMITS = (
    Limit("at most 1.0 point, 6 M cycles", 1.0, 6_000_000),
    Limit("at most 3 points, 3.5 M cycles", 3.0, 3_500_000),
    Limit("40 KB (40,960 bytes) of flash", flash=SMALL),
    Limit("6 M cycles, whatever the loss", cycles=6_000_000),
    Limit("3.5 M cycles, whatever the loss", cycles=3_500_000),
)


def problem(folder: Path, samples: int, *, small: bool = False) -> Problem:
    """CIFAR-10 on the Cortex-M4; the first `samples` of the training images. At -O3, or at -Os in
    `SMALL` bytes of flash."""
    data = folder / "data" / "cifar10.npz"
    fast = Problem(
        str(folder / "models" / "ic_resnet8.onnx"),
        "nrf52840",
        calib=f"{data}:train_x[:250]",
        train=f"{data}:train_x[:{samples}],train_y[:{samples}]",
        evaluation=f"{data}:val_x,val_y",
        level="O3",
    )
    return replace(fast, level="Os", part=PART, max_flash=SMALL) if small else fast


def ic(bench: Bench, seconds: float, permuted: int) -> str:
    """One search by time, and the limits met by it and by hand-made pipelines. The order of
    `permuted` pipelines of the front is permuted; each permutation trains anew."""
    own = read_starts([PIPELINES / f"{name}.txt" for name in STARTS], FRAME, bench.problem)
    settings = SearchSettings(
        seed=1,
        population=POPULATION,
        objectives=("accuracy", "cycles", "flash"),
        bounds=Bounds(flash=bench.problem.max_flash),
        budget=Budget(seconds=seconds),
        starts=own,
    )
    found = bench.search(settings)
    base = found.search.settings.baseline
    assert base is not None
    by_hand = bench.evaluate([*own, *bench.starts()], "measured")
    by_search = {found.genome(e): e for e in found.front}
    table = Table(("limits", "found by", "points lost", *COLUMNS))
    small = bench.problem.max_flash is not None
    for limit in (x for x in LIMITS if (x.flash is not None) == small):
        for who, all_of_them in (("search", by_search), ("hand", by_hand)):
            best = _best(limit, all_of_them, base)
            if best is None:
                table.add(limit.says, who, "none", *("" for _ in COLUMNS))
                continue
            genome, e = best
            table.add(limit.says, who, f"{100 * (base - accuracy(e)):.2f}", *row(genome, e))
    front = Table(COLUMNS)
    for genome, e in by_search.items():
        front.add(*row(genome, e))
    hand = Table(COLUMNS)
    for genome, e in by_hand.items():
        if not e.error:
            hand.add(*row(genome, e))
    s = found.search
    return (
        f"# Image classification, Cortex-M4, -{bench.problem.level}{_within(bench)}, with training\n\n"
        f"{found.evaluated} pipelines, {found.failed} of them not possible, in {s.seconds:,.0f} s "
        f"of a budget of {seconds:,.0f} s "
        f"(2 workers, one thread each, other jobs on the machine), seed {s.settings.seed}, "
        f"population {POPULATION}, {len(own)} hand-made pipelines of benchmarks/pipelines and "
        f"{len(bench.starts())} recipes to start from. Trained on `{_array(bench.problem.train)}`, "
        f"judged on 2,000 other images, a quarter of them held out. The model as given: {base:.2%}, "
        f"held out {found.held_out_baseline:.2%}. The most accurate within the limits; hand is the "
        f"best of the hand-made pipelines and the recipes:\n\n{markdown(table)}\nThe front:\n\n"
        f"{markdown(front)}\nBy hand:\n\n{markdown(hand)}\n{orders(bench, found, permuted)}"
    )


def _best(
    limit: Limit, found: Mapping[str, Evaluation], baseline: float
) -> tuple[str, Evaluation] | None:
    kept = [(g, e) for g, e in found.items() if not e.error and limit.kept_by(e, baseline)]
    return max(kept, key=lambda x: (accuracy(x[1]), -(x[1].metrics.cycles or 0)), default=None)


def _within(bench: Bench) -> str:
    flash = bench.problem.max_flash
    return "" if flash is None else f", {flash:,} bytes of flash"


def _array(data: str) -> str:
    return data.rpartition("/")[2]
