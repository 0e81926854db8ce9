"""What `search` writes for people: page.html."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinycc_nn.search.executor import Executor
    from tinycc_nn.search.outcome import Outcome
    from tinycc_nn.search.store import Store

PAGE = "page.html"


def explain(
    output: Path,
    found: Outcome,
    store: Store,
    executor: Executor | None,
    say: Callable[[str], None],
) -> None:
    """Write the page: at once, and again when an executor has measured the winner's variants."""
    from tinycc_nn.cachedir import user_networks
    from tinycc_nn.outputs import write_file
    from tinycc_nn.search.ablation import ablation, winner
    from tinycc_nn.search.evaluate import request_of
    from tinycc_nn.search.fitness import Judge
    from tinycc_nn.search.page import render_page

    target = request_of(found.search.problem, "").target
    asked = [t.evaluation for t in store.trials(found.search)]
    write_file(output / PAGE, render_page(found, asked, target, store.path))
    best = winner(found, Judge(found.search.settings, target))
    if executor is None or best is None:
        return
    variants = ablation(found, best, store, executor, user_networks(), say)
    write_file(output / PAGE, render_page(found, asked, target, store.path, variants))
