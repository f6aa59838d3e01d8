"""Batch-norm statistics made anew: after a cut, the ones that were recorded belong to another network.

The average over the batches is cumulative: every batch counts alike, and nothing is left of what was recorded before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from cpd.errors import DataError
from cpd.measure.latency import evaluating

Batch = Tensor | tuple[Tensor, ...] | list[Tensor]


def recalibrate(module: nn.Module, batches: Iterable[Batch]) -> None:
    """Re-estimate every batch-norm statistic of `module`, in place, from what the batches give.

    Everything else behaves as in evaluation: no dropout, and norms that are frozen stay as they are. Modes are put back.
    A network without batch norm is left alone and no batch is read.

    Args:
        module: an ordinary module, or the traced one that `cpd.prune` gives, where batch norm is an operator.
        batches: images, or tuples that begin with them, on any device; equally large ones, since each counts alike.
    Raises:
        DataError: there is no batch.
    """
    graph = module if isinstance(module, GraphModule) else None
    if not (_norm_modules(module) if graph is None else live_norms(graph)):
        return
    source = iter(batches)
    first = next(source, None)
    if first is None:
        raise DataError("no images to re-estimate batch-norm statistics from; check that the training data holds some.")
    device = next(chain(module.parameters(), module.buffers())).device
    images = (_images(batch).to(device) for batch in chain([first], source))
    with torch.no_grad(), evaluating(module):
        if graph is not None:
            _Averaging(graph).pass_over(images)
        else:
            update_bn(_only_norms_train(module, images), module)


def live_norms(module: GraphModule) -> list[Node]:
    """Batch-norm operators whose statistics follow training, in graph order."""
    return [node for node in module.graph.nodes if is_live_norm(node)]


def is_live_norm(node: Node) -> bool:
    """Whether a node is a batch norm with running statistics that train() would update.

    One that was frozen in the model is traced with a constant for its flag; one without statistics has none to read.
    """
    return (
        node.op == "call_function"
        and str(node.target).startswith("aten.batch_norm")
        and all(isinstance(node.args[i], Node) for i in (_MEAN, _VARIANCE, _TRAINING))
    )


_MEAN, _VARIANCE, _TRAINING, _MOMENTUM = 3, 4, 5, 6  # arguments of aten.batch_norm


class CumulativeNorm:
    """Runs batch-norm operators on the statistics of the batch, and averages those into the buffers given.

    The k-th call for a buffer has momentum 1 / k, which makes the running value the mean of all k; a norm that a
    network applies twice a pass counts twice, as it does in torch.
    """

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()

    def __call__(self, node: Node, arguments: tuple[Any, ...]) -> Tensor:
        name = str(node.args[_MEAN])
        self._calls[name] += 1
        given = list(arguments)
        if self._calls[name] == 1:  # 0 * nan is nan: what was there must not enter even with weight zero
            given[_MEAN].zero_()
            given[_VARIANCE].fill_(1)
        given[_TRAINING], given[_MOMENTUM] = True, 1 / self._calls[name]
        result: Tensor = node.target(*given)  # type: ignore[operator]
        return result


class _Averaging(Interpreter):
    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self._norm = CumulativeNorm()

    def pass_over(self, batches: Iterator[Tensor]) -> None:
        count = 0
        for images in batches:
            self.run(images)
            count += 1
        for node in live_norms(self.module):  # type: ignore[arg-type]
            path, _, _ = str(node.args[_MEAN].target).rpartition(".")  # type: ignore[union-attr]
            counter = getattr(self.module.get_submodule(path), "num_batches_tracked", None)
            if isinstance(counter, Tensor):
                counter.fill_(count)

    def run_node(self, n: Node) -> Any:
        if not is_live_norm(n):
            return super().run_node(n)
        arguments, _ = self.fetch_args_kwargs_from_env(n)
        return self._norm(n, tuple(arguments))


def _norm_modules(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]


def _only_norms_train(module: nn.Module, images: Iterator[Tensor]) -> Iterator[Tensor]:
    """The batches; before the first one everything but batch norm leaves the training mode that `update_bn` set."""
    for part in module.modules():
        part.training = isinstance(part, _BatchNorm)
    yield from images


def _images(batch: Batch) -> Tensor:
    return batch if isinstance(batch, Tensor) else batch[0]
