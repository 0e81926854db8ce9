"""Every evaluation of every search in one SQLite file, from which a search goes on where it was."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.report import Report
from tinycc_nn.search.results import STAGES, Evaluation, Metrics, Stage, Trial
from tinycc_nn.search.settings import Problem, SearchSettings

_VERSION = 1
_WAIT_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS problems (key TEXT PRIMARY KEY, problem TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS searches (
    id INTEGER PRIMARY KEY, problem TEXT NOT NULL REFERENCES problems (key),
    key TEXT NOT NULL, settings TEXT NOT NULL, created REAL NOT NULL,
    seconds REAL NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, UNIQUE (problem, key));
CREATE TABLE IF NOT EXISTS evaluations (
    id INTEGER PRIMARY KEY, problem TEXT NOT NULL REFERENCES problems (key),
    pipeline TEXT NOT NULL, stage TEXT NOT NULL, network TEXT NOT NULL, metrics TEXT NOT NULL,
    error TEXT NOT NULL, seconds REAL NOT NULL, report TEXT, version TEXT NOT NULL,
    seed INTEGER NOT NULL, created REAL NOT NULL, UNIQUE (problem, pipeline));
CREATE INDEX IF NOT EXISTS networks ON evaluations (problem, network);
CREATE TABLE IF NOT EXISTS trials (
    search INTEGER NOT NULL REFERENCES searches (id), position INTEGER NOT NULL,
    generation INTEGER NOT NULL, evaluation INTEGER NOT NULL REFERENCES evaluations (id),
    PRIMARY KEY (search, position));
"""
_COLUMNS = "id, pipeline, stage, network, metrics, error, seconds, report, version"


@dataclass(frozen=True, slots=True)
class Search:
    """A search in the store: `seconds` that it has run, `ended` when its budget is used up."""

    id: int
    problem: Problem
    settings: SearchSettings
    seconds: float
    ended: bool


class Store:
    """
    An SQLite file (write-ahead log). Each method is a transaction of its own: a process that dies
    loses what it had not handed over, and other processes may use the file meanwhile.

    An evaluation belongs to a problem, so that searches share it; trials say which evaluation a
    search asked for, and when.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file; TinyccError if it is not one of these."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
            version = self._prepare()
        except (sqlite3.Error, OSError) as e:
            raise TinyccError(f"can't open the search store: {e}", str(path)) from None

        if version != _VERSION:
            hint = f"this version reads {_VERSION}: use another file"
            raise TinyccError(f"a search store of version {version}", str(path), hint)

    def _prepare(self) -> int:
        """Make the tables of a new file; the version of what is there."""
        until = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA synchronous = FULL")
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    self._db.execute("PRAGMA journal_mode = WAL")
                    mark = f"PRAGMA user_version = {_VERSION};"
                    self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {mark} COMMIT;")
                    version = _VERSION
                return int(version)
            except sqlite3.OperationalError as e:
                # another process that makes the same file: SQLite doesn't wait for this lock
                if "locked" not in str(e) or time.monotonic() > until:
                    raise
                if self._db.in_transaction:
                    self._db.rollback()
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def start(self, problem: Problem, settings: SearchSettings) -> Search:
        """The search with these settings: a new one, or the one that is there, whose budget may
        have been another."""
        self._db.execute(
            "INSERT OR IGNORE INTO problems VALUES (?, ?)", (problem.key, problem.to_json())
        )
        self._db.execute(
            "INSERT INTO searches (problem, key, settings, created) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (problem, key) DO UPDATE SET settings = excluded.settings,"
            " ended = ended AND settings = excluded.settings",
            (problem.key, settings.key, settings.to_json(), time.time()),
        )
        row = self._db.execute(
            "SELECT id FROM searches WHERE problem = ? AND key = ?", (problem.key, settings.key)
        ).fetchone()
        return self.search(row[0])

    def searches(self) -> list[Search]:
        """All searches, the oldest first."""
        rows = self._db.execute("SELECT id FROM searches ORDER BY id").fetchall()
        return [self.search(id) for (id,) in rows]

    def search(self, id: int) -> Search:
        """One search; UsageError if there is none of that number."""
        row = self._db.execute(
            "SELECT s.id, p.problem, s.settings, s.seconds, s.ended"
            " FROM searches s JOIN problems p ON p.key = s.problem WHERE s.id = ?",
            (id,),
        ).fetchone()
        if row is None:
            raise UsageError(f"there is no search {id}", str(self.path))
        problem, settings = Problem.from_json(row[1]), SearchSettings.from_json(row[2])
        return Search(row[0], problem, settings, row[3], bool(row[4]))

    def progress(self, search: Search, seconds: float, *, ended: bool = False) -> None:
        """Set how long a search has run, and whether it is over."""
        self._db.execute(
            "UPDATE searches SET seconds = ?, ended = ? WHERE id = ?", (seconds, ended, search.id)
        )

    def find(self, problem: Problem, pipeline: str) -> Evaluation | None:
        """The evaluation of a pipeline, or None."""
        return self._one("problem = ? AND pipeline = ?", (problem.key, pipeline))

    def same_network(self, problem: Problem, network: str) -> Evaluation | None:
        """The evaluation, measured if one is, of any pipeline that ends in this network."""
        where = "problem = ? AND network = ? ORDER BY report IS NULL, id LIMIT 1"
        return self._one(where, (problem.key, network))

    def evaluation(self, id: int) -> Evaluation:
        """One evaluation; UsageError if there is none of that number."""
        if (found := self._one("id = ?", (id,))) is None:
            raise UsageError(f"there is no evaluation {id}", str(self.path))
        return found

    def problem_of(self, id: int) -> Problem:
        """The problem that the evaluation `id` belongs to."""
        row = self._db.execute(
            "SELECT p.problem FROM evaluations e JOIN problems p ON p.key = e.problem"
            " WHERE e.id = ?",
            (id,),
        ).fetchone()
        if row is None:
            raise UsageError(f"there is no evaluation {id}", str(self.path))
        return Problem.from_json(row[0])

    def record(self, problem: Problem, e: Evaluation) -> Evaluation:
        """Keep an evaluation, with its number. What is there of the same pipeline is replaced by
        a later stage, and stays otherwise: results don't change under a search that used them."""
        self._db.execute(
            "INSERT OR IGNORE INTO problems VALUES (?, ?)", (problem.key, problem.to_json())
        )
        report = e.report.to_json() if e.report else None
        later = STAGES[: STAGES.index(e.stage)]
        self._db.execute(
            "INSERT INTO evaluations (problem, pipeline, stage, network, metrics, error, seconds,"
            " report, version, seed, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (problem, pipeline) DO UPDATE SET stage = excluded.stage,"
            " network = excluded.network, metrics = excluded.metrics, error = excluded.error,"
            " seconds = excluded.seconds, report = excluded.report"
            f" WHERE stage IN ({', '.join('?' * len(later))})",
            (
                problem.key,
                e.pipeline,
                e.stage,
                e.network,
                e.metrics.to_json(),
                e.error,
                e.seconds,
                report,
                e.version,
                problem.seed,
                time.time(),
                *later,
            ),
        )
        found = self.find(problem, e.pipeline)
        assert found is not None
        return found

    def add_trial(self, search: Search, position: int, generation: int, e: Evaluation) -> None:
        """Note that the search asked for an evaluation that is in the store."""
        self._db.execute(
            "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?)",
            (search.id, position, generation, e.id),
        )

    def trials(self, search: Search) -> list[Trial]:
        """What a search asked for, in order."""
        rows = self._db.execute(
            f"SELECT t.position, t.generation, {', '.join(f'e.{c}' for c in _COLUMNS.split(', '))}"
            " FROM trials t JOIN evaluations e ON e.id = t.evaluation"
            " WHERE t.search = ? ORDER BY t.position",
            (search.id,),
        ).fetchall()
        return [Trial(row[0], row[1], _evaluation(row[2:])) for row in rows]

    def _one(self, where: str, values: tuple[object, ...]) -> Evaluation | None:
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM evaluations WHERE {where}", values
        ).fetchone()
        return None if row is None else _evaluation(row)


def _evaluation(
    row: tuple[int, str, Stage, str, str, str, float, str | None, str],
) -> Evaluation:
    id, pipeline, stage, network, metrics, error, seconds, report, version = row
    found = Evaluation(
        pipeline, stage, network, Metrics.from_json(metrics), error, seconds, None, version, id
    )
    return replace(found, report=Report.from_json(report)) if report else found
