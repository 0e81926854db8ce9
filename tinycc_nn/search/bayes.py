"""Optuna's multi-objective TPE on the same space: what the genetic search is compared with.

Needs the extra `optuna`. Options that go by layer stay at their defaults.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinycc_nn.diagnostics import UsageError
from tinycc_nn.options import option_infos
from tinycc_nn.pipeline import Pass, print_pipeline
from tinycc_nn.search.fitness import FAILED
from tinycc_nn.search.methods import RandomSearch
from tinycc_nn.search.nsga import Scored
from tinycc_nn.search.settings import SearchSettings
from tinycc_nn.search.space import MAX_PASSES, Genome, Space, make, values

if TYPE_CHECKING:
    from optuna.trial import BaseTrial, FrozenTrial, Trial

_NONE = "none"
_TRIES = 6


class OptunaSearch(RandomSearch):
    """A genome is a row of places, each with a pass or none, and the options of that pass. What a
    search starts from and these can't say is asked as it is, and Optuna isn't told of it."""

    def __init__(self, settings: SearchSettings, space: Space, recipes: Sequence[Genome]) -> None:
        super().__init__(settings, space, recipes)
        try:
            import optuna
        except ImportError:
            hint = "pip install 'tinycc-nn[optuna]'"
            raise UsageError("Optuna is not installed", hint=hint) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Optuna 4 knows no other way
            sampler = optuna.samplers.TPESampler(
                seed=settings.seed,
                n_startup_trials=settings.population,
                constraints_func=_violation,
            )
        objectives = 1 if settings.weights else len(settings.objectives)
        self._failed = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
        self._kinds = {k.name(): k for k in space.kinds}
        self._trials: list[Trial] = []
        self._last = 0
        self._as_they_are = [g for g in recipes if self._again(g) != g]
        for genome in recipes:
            if genome not in self._as_they_are:
                self._study.enqueue_trial(_parameters(genome))

    def ask(self) -> list[Genome]:
        """Proposals that can't be built or were made before are told as failures."""
        found: list[Genome] = []
        self._trials = []
        raw, self._as_they_are = self._as_they_are, []
        self._asked.update(print_pipeline(g) for g in raw)
        for _ in range(_TRIES * self.count):
            if len(found) == self.count:
                break
            trial = self._study.ask()
            genome = self._genome(trial)
            if genome is None or print_pipeline(genome) in self._asked:
                self._study.tell(trial, state=self._failed)
                continue
            self._asked.add(print_pipeline(genome))
            found.append(genome)
            self._trials.append(trial)
        while len(found) < self.count:
            found.append(self.new(lambda: self.space.random_genome(self.rng)))
        found += raw
        self._last = len(found)
        return found

    def tell(self, scored: Sequence[Scored]) -> None:
        last = scored[max(0, len(scored) - self._last) :]
        for trial, s in zip(self._trials, last, strict=False):
            trial.set_user_attr("violation", s.fitness.violation)
            if s.fitness.violation >= FAILED:
                self._study.tell(trial, state=self._failed)
            else:
                self._study.tell(trial, list(s.fitness.values))

    def _again(self, genome: Genome) -> Genome | None:
        """What comes back of a genome that is said in Optuna's terms."""
        import optuna

        if any(p.name() not in self._kinds for p in genome):
            return None
        return self._genome(optuna.trial.FixedTrial(_parameters(genome)))

    def _genome(self, trial: BaseTrial) -> Genome | None:
        found = []
        for i in range(MAX_PASSES):
            name = trial.suggest_categorical(f"{i}", [_NONE, *self._kinds])
            if name == _NONE:
                continue
            kind, settings = self._kinds[name], dict[str, Any]()
            for o in option_infos(kind):
                if v := values(o):
                    at = trial.suggest_categorical(f"{i}.{name}.{o.name}", list(range(len(v))))
                    settings[o.name] = v[at]
            if (made := _together(kind, settings)) is None:
                return None
            found.append(made)
        return tuple(found)


def _together(kind: type[Pass], settings: dict[str, Any]) -> Pass | None:
    """The pass with these options, but for one that doesn't go with the others."""
    left_out = [None, *settings]
    tries = (make(kind, {k: v for k, v in settings.items() if k != n}) for n in left_out)
    return next((p for p in tries if p is not None), None)


def _parameters(genome: Genome) -> dict[str, str | int]:
    """A genome in Optuna's terms; values that a search doesn't try are taken for the defaults."""
    found: dict[str, str | int] = {f"{i}": _NONE for i in range(MAX_PASSES)}
    for i, p in enumerate(genome):
        found[f"{i}"] = p.name()
        for o in option_infos(type(p)):
            if v := values(o):
                now = getattr(p, o.name)
                found[f"{i}.{p.name()}.{o.name}"] = v.index(now) if now in v else 0
    return found


def _violation(trial: FrozenTrial) -> tuple[float]:
    return (float(trial.user_attrs.get("violation", FAILED)),)
