"""What pipelines begin with in common is computed once: networks by the passes that made them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.files import blobs_npz, read_graph
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.text import print_graph
from tinycc_nn.pipeline import Context, Pipeline, Stage

_WORTH_SECONDS = 0.05
"""What a pass must take for its result to be written to disk."""

_IN_MEMORY = 256
_SUFFIX = ".tnn"


def network_digest(graph: Graph) -> str:
    """Of the text, which names arrays by their digests."""
    return content_key([print_graph(graph)])


@dataclass(frozen=True)
class _Known:
    graph: Graph
    digest: str


@dataclass
class Prefixes:
    """
    Networks by what determines them: the network in front, the text of a pass, and the data, seed
    and versions that `root` stands for; for a pass that reads the history, also that. So pipelines
    that come to the same network by different ways go on together. The last networks are in memory;
    what took long is on disk, where all processes find it.
    """

    root: str
    disk: CacheDir
    _memory: OrderedDict[str, _Known | str] = field(default_factory=OrderedDict)

    def run(self, graph: Graph, pipeline: Pipeline, context: Context) -> Graph:
        """As `run_pipeline`. What a pass has refused is remembered too."""
        keep = any(p.reads_history for p in pipeline)
        now, past = _Known(graph, network_digest(graph)), list[str]()
        for p in pipeline:
            if keep:
                context = replace(context, history=(*context.history, Stage(p.name(), now.graph)))
                past += [p.name(), now.digest]
            key = content_key([self.root, now.digest, str(p), *(past if p.reads_history else [])])
            found = self._find(key)
            if found is None:
                found = self._compute(key, partial(p, now.graph, context))
            self._remember(key, found)
            if isinstance(found, str):
                raise TinyccError(found)
            now = found
        return now.graph

    def _compute(self, key: str, work: Callable[[], Graph]) -> _Known | str:
        started = time.perf_counter()
        try:
            found = work()
        except TinyccError as e:
            return e.message
        if time.perf_counter() - started > _WORTH_SECONDS:
            self._write(key, found)
        return _Known(found, network_digest(found))

    def _find(self, key: str) -> _Known | str | None:
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        path = self.disk.path(key, _SUFFIX)
        if not path.exists():
            return None
        try:
            graph = read_graph(path)
        except TinyccError:
            return None
        return _Known(graph, network_digest(graph))

    def _remember(self, key: str, found: _Known | str) -> None:
        self._memory[key] = found
        while len(self._memory) > _IN_MEMORY:
            self._memory.popitem(last=False)

    def _write(self, key: str, graph: Graph) -> None:
        """The arrays first: a text that is there can be read."""
        if self.disk.put(key, ".npz", blobs_npz(graph)) is not None:
            self.disk.put(key, _SUFFIX, print_graph(graph).encode())
