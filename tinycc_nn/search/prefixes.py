"""What pipelines begin with in common is computed once: networks by the passes that made them."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace

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


@dataclass
class Prefixes:
    """
    Networks by what determines them: the network in front, the text of a pass, and the data, seed
    and versions that `root` stands for. The last ones are in memory; what took long is on disk,
    where all processes find it.
    """

    root: str
    disk: CacheDir
    _memory: OrderedDict[str, Graph | str] = field(default_factory=OrderedDict)

    def run(self, graph: Graph, pipeline: Pipeline, context: Context) -> Graph:
        """As `run_pipeline`. What a pass has refused is remembered too."""
        keep = any(p.reads_history for p in pipeline)
        key = content_key([self.root, network_digest(graph)])
        for p in pipeline:
            if keep:
                context = replace(context, history=(*context.history, Stage(p.name(), graph)))
            key = content_key([key, str(p)])
            found = self._find(key)
            if found is None:
                started = time.perf_counter()
                try:
                    found = p(graph, context)
                except TinyccError as e:
                    found = e.message
                if isinstance(found, Graph) and time.perf_counter() - started > _WORTH_SECONDS:
                    self._write(key, found)
            self._remember(key, found)
            if isinstance(found, str):
                raise TinyccError(found)
            graph = found
        return graph

    def _find(self, key: str) -> Graph | str | None:
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        path = self.disk.path(key, _SUFFIX)
        if not path.exists():
            return None
        try:
            return read_graph(path)
        except TinyccError:
            return None

    def _remember(self, key: str, found: Graph | str) -> None:
        self._memory[key] = found
        while len(self._memory) > _IN_MEMORY:
            self._memory.popitem(last=False)

    def _write(self, key: str, graph: Graph) -> None:
        """The arrays first: a text that is there can be read."""
        if self.disk.put(key, ".npz", blobs_npz(graph)) is not None:
            self.disk.put(key, _SUFFIX, print_graph(graph).encode())
