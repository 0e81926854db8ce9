"""A point of a search once more, byte for byte: STORE#ID names it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.cachedir import content_key
from tinycc_nn.data import DataSpec
from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.driver import Compiled, compile_model
from tinycc_nn.report import Report
from tinycc_nn.request import Request, c_name
from tinycc_nn.search.evaluate import request_of
from tinycc_nn.search.executor import ONE_THREAD
from tinycc_nn.search.run import identified
from tinycc_nn.search.settings import Problem
from tinycc_nn.search.store import Store
from tinycc_nn.training.data import is_hook
from tinycc_nn.workers import Failed, Workers

STORE = "search.sqlite"
PARETO = "pareto.json"

_LONGEST = 24 * 3600.0
"""Seconds that a compilation, which may train, is waited for."""

_FILES = {
    "model": "the model",
    "calib": "the calibration data",
    "train": "the training data",
}
"""What the user names, by its digest; anything else that differs is the installation."""

_INSTALLED = {
    "version": "the version of tinycc-nn",
    "source": "the source of tinycc-nn",
    "numpy": "the version of numpy",
    "compiler": "the C compiler",
    "records": "what was measured of kernels (--records)",
}


@dataclass(frozen=True)
class Point:
    """A pipeline that a search evaluated, with all that its network depends on; `network` is the
    digest of the graph that it ended in, `kernels` are those of its layers where it was measured."""

    where: str
    problem: Problem
    pipeline: str
    network: str
    kernels: tuple[tuple[str, str], ...] = ()

    def request(
        self, model: str, calib: str | None, train: str | None, records: str | None
    ) -> Request:
        """The compilation of this point, with the files where they are now.

        TinyccError where model, data or installation are not those of the search: another network
        would come out.
        """
        moved = dataclasses.replace(
            self.problem,
            model=model,
            calib=self._file("calib", calib),
            train=self._file("train", train),
            evaluation="",
            records=records or self.problem.records,
        )
        before, now = dict(self.problem.digests), dict(identified(moved).digests)
        for name, what in _FILES.items():
            if now.get(name) != before.get(name):
                raise TinyccError(f"{what} is not that of the search", getattr(moved, name))
        for name, what in _INSTALLED.items():
            if name == "records" and self.kernels:
                continue  # passes may have measured more meanwhile; the kernels are compared
            if now.get(name) != before.get(name):
                hint = f"compile it anew, without the bytes of the search: -p '{self.pipeline}'"
                raise TinyccError(f"{what} is another one now than in the search", self.where, hint)
        name = c_name(Path(self.problem.model).stem)
        return dataclasses.replace(request_of(moved, self.pipeline), name=name)

    def _file(self, name: str, given: str | None) -> str:
        """The text of data: as given, or where the search had it."""
        known: str = getattr(self.problem, name)
        if given is not None and not known:
            raise UsageError(f"--{name}: the search had none", self.where)
        text = given or known
        if text and not (name == "train" and is_hook(text)):
            path = DataSpec.parse(text).path
            if not path.exists():
                raise UsageError(f"{_FILES[name]} is not at {path}", self.where, f"give --{name}")
        return text


def find_point(text: str) -> Point:
    """The point that `STORE#ID` names: STORE is the file of a search, or the folder that it wrote.

    UsageError for a number that isn't there, TinyccError for an evaluation that has failed.
    """
    place, mark, number = text.rpartition("#")
    where = Path(place if mark else text)
    folder = where.is_dir()
    file = where / STORE if folder else where
    if not file.exists() and not (folder and (where / PARETO).exists()):
        raise UsageError("there is no search", str(where), "give STORE#ID, or DIR#ID")
    if not number.isdecimal() or not mark:
        hint = f"one of: {_known(where)}" if folder else "as in: search.sqlite#7"
        raise UsageError(f"'{text}' has no number of a pipeline behind a #", hint=hint)
    if not file.exists():
        return _of_front(where / PARETO, int(number))
    with Store(file) as store:
        found, problem = store.evaluation(int(number)), store.problem_of(int(number))
    if found.error:
        hint = f"its pipeline: {found.pipeline}"
        raise TinyccError(f"evaluation {number} has failed: {found.error}", str(file), hint)
    kernels = _kernels(found.report) if found.report else ()
    return Point(f"{file}#{number}", problem, found.pipeline, found.network, kernels)


def rebuild(point: Point, request: Request) -> Compiled:
    """Compile, in a process of its own as the search did: sums in floating point depend on the
    number of threads. TinyccError if another network comes out nevertheless."""
    with Workers(_compiled, 1, ONE_THREAD) as workers:
        ((_, found),) = workers.run([request], task_seconds=_LONGEST)
    if isinstance(found, Failed):
        raise RuntimeError(found.reason)
    if isinstance(found, TinyccError):
        raise found
    text = found.temps[f"{request.name}.final.tnn"]
    assert isinstance(text, str)
    if content_key([text]) != point.network:
        raise TinyccError("another network came out than in the search", point.where)
    if point.kernels and _kernels(found.report) != point.kernels:
        message = (
            f"other kernels were chosen than in the search: {_INSTALLED['records']} has changed"
        )
        raise TinyccError(message, point.where, "give the folder as it was, with --records")
    return found


def _kernels(report: Report) -> tuple[tuple[str, str], ...]:
    return tuple((layer.name, layer.kernel) for layer in report.layers)


def _compiled(request: Request) -> Compiled | TinyccError:
    try:
        return compile_model(request)
    except TinyccError as e:
        return e


def _of_front(path: Path, number: int) -> Point:
    """A point of pareto.json, for a folder whose store is elsewhere."""
    points, problem = _front(path)
    for p in points:
        if p["id"] == number:
            return Point(f"{path}#{number}", problem, str(p["pipeline"]), str(p["network"]))
    hint = f"one of: {', '.join(str(p['id']) for p in points)}"
    raise UsageError(f"there is no point {number}", str(path), hint)


def _front(path: Path) -> tuple[list[dict[str, object]], Problem]:
    try:
        found = json.loads(path.read_text("utf-8"))
        return found["points"], Problem.from_json(json.dumps(found["problem"]))
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise TinyccError(f"can't be read: {e}", str(path), "tinycc-nn search writes it") from None


def _known(folder: Path) -> str:
    path = folder / PARETO
    return ", ".join(str(p["id"]) for p in _front(path)[0]) if path.exists() else "its numbers"
