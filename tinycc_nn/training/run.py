"""A training from its options to the graph: checks, the network, the loop, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.cachedir import CacheDir
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.training.augment import check_augmentation
from tinycc_nn.training.checkpoint import Checkpoint, training_key
from tinycc_nn.training.data import ArrayData, Batch, TrainingData
from tinycc_nn.training.device import chosen_device, memory_errors, slow_bfloat16, threads
from tinycc_nn.training.loop import Work, all_tensors, train
from tinycc_nn.training.network import Freedom, Network
from tinycc_nn.training.objective import Objective
from tinycc_nn.training.settings import Settings
from tinycc_nn.training.watch import Watcher

RANGE_FACTOR = 20.0
"""Samples whose spread differs by more from what a network is known to take are refused."""

NORMALIZED = 256
"""Samples whose statistics a normalization starts from."""


@dataclass(frozen=True)
class Surroundings:
    """What a pass has beside its options: see pipeline.Context. stages: the history's graphs."""

    data: TrainingData
    calibration: Mapping[str, Array]
    stages: Sequence[Graph]
    watcher: Watcher
    checkpoints: CacheDir | None


def train_graph(
    graph: Graph,
    made_by: str,
    settings: Settings,
    freedom: Freedom,
    objective: Callable[[str], Objective],
    around: Surroundings,
) -> None:
    """Train the parameters of `graph` in place. `objective` makes what is to be small, for tensors
    on the device of that name. TinyccError for data or operators that don't go with it."""
    for v in graph.inputs:
        check_augmentation(settings, v)
    _check_range(graph, around.data, around.calibration)
    data, held_out = _split(around.data, settings)
    device = chosen_device()
    if settings.precision == "bfloat16" and slow_bfloat16(device):
        around.watcher.note(
            f"{made_by}: precision=bfloat16 is many times slower than float32 on this processor"
        )
    with threads(settings.threads), memory_errors(settings.batch):
        network = Network(graph, freedom, around.stages, device)
        if not network.parameters():
            raise TinyccError(f"{made_by}: the network has no weights to train")
        if settings.normalize:
            network.normalize(stored_inputs(graph, data.some(NORMALIZED).inputs))
        aim = objective(device)
        texts = [made_by, around.data.digest()]
        key = training_key([graph, *aim.graphs], all_tensors(network), texts)
        checkpoint = Checkpoint(around.checkpoints, key)
        train(Work(made_by, network, aim, data, held_out, settings, around.watcher, checkpoint))
        network.write()


def _split(data: TrainingData, settings: Settings) -> tuple[TrainingData, Batch | None]:
    if not settings.holdout:
        return data, None
    if not isinstance(data, ArrayData):
        hint = "leave samples out in the function"
        raise TinyccError("holdout needs the training data in a file", data.source, hint)
    return data.split(settings.holdout, settings.seed)


def _check_range(graph: Graph, data: TrainingData, calibration: Mapping[str, Array]) -> None:
    """TinyccError if samples are of another range than what the network is known to take."""
    some = data.some(256).inputs
    for v in graph.inputs:
        x = some[v.name]
        if x.dtype != np.float32:
            continue
        largest = float(np.abs(x).max())
        known, source = None, ""
        if v.name in calibration:
            known, source = float(np.abs(calibration[v.name]).max()), "the calibration data's"
        elif v.type.quant is not None:
            ends = v.type.quant.scales() * np.array(
                [-128 - v.type.quant.zero, 127 - v.type.quant.zero]
            )
            known, source = float(np.abs(ends).max()), "the quantization's"
        if known is None or known / RANGE_FACTOR <= largest <= known * RANGE_FACTOR:
            continue
        message = f"the largest magnitude of {v} is {largest:g}, {source} is {known:g}"
        raise TinyccError(message, data.source, "scale the samples as the network takes them")
