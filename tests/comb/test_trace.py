"""What stands in the way of a trace is named; what a trace pins is undone."""

from __future__ import annotations

import logging
import signal
import threading
import time

import pytest
import torch
import torch.nn.functional as F
from networks import Head, conv
from torch import Tensor, nn

from cpd.comb.certify import measure
from cpd.comb.comb import comb
from cpd.comb.trace import trace
from cpd.errors import TraceError
from cpd.prune.plan import uniform_plan
from cpd.prune.surgery import prune

IMAGE = (torch.randn(2, 3, 12, 12),)


class BranchesOnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if x.sum() > 0:
            return x
        return -x


class Endless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            pass
        return self.a(x)


class Unknown(nn.Module):
    """An operator that no rule covers, on one of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 6), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(x) + torch.cumsum(torch.linalg.matrix_exp(self.b(x)), 2)


def test_a_branch_on_values_is_named_with_its_line() -> None:
    with pytest.raises(TraceError, match=r"BranchesOnValues cannot be traced at test_trace\.py:\d+ in forward"):
        comb(BranchesOnValues(), IMAGE)


def test_a_trace_that_does_not_end_is_ended() -> None:
    start = time.monotonic()
    with pytest.raises(TraceError, match="did not end within 0.5 s"):
        comb(Endless(), IMAGE, timeout_s=0.5)
    assert time.monotonic() - start < 10


class Chatty(nn.Module):
    """Nearly always inside logging, whose lock is held there."""

    def forward(self, x: Tensor) -> Tensor:
        while True:
            logging.getLogger("chatty").setLevel(logging.INFO)


@pytest.mark.parametrize("attempt", range(3))
def test_a_trace_that_is_ended_leaves_no_lock_behind(attempt: int) -> None:
    trace(Head(conv(3, 4), 4), IMAGE)  # what an export imports is there, so that the time runs out inside the model
    with pytest.raises(TraceError, match="did not end"):
        trace(Chatty(), IMAGE, timeout_s=0.6)
    logged = threading.Thread(target=logging.getLogger("chatty").setLevel, args=(logging.INFO,), daemon=True)
    logged.start()
    logged.join(10)
    assert not logged.is_alive(), "logging waits for a lock that nobody gives back"


def test_an_alarm_that_the_caller_set_still_rings() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    was, _ = signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        trace(Head(conv(3, 4), 4), IMAGE)
        end = time.monotonic() + 10
        while not rung and time.monotonic() < end:
            time.sleep(0.01)
        assert rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, was)
        signal.signal(signal.SIGALRM, before)


def test_an_operator_without_a_rule_locks_only_what_it_touches() -> None:
    model = Head(Unknown(), 6).eval()
    result = comb(model, IMAGE)
    groups = {g.name: g for g in result.groups}
    assert not groups["body.b.0"].prunable or "matrix_exp" in groups["body.b.0"].reason
    assert groups["body.a.0"].prunable
    assert any("matrix_exp" in text and "test_trace.py:" in text for text in result.record.unknown)
    assert all(check.passed for check in measure(model, IMAGE, result))


def test_a_model_comes_back_in_the_mode_it_was_in() -> None:
    model = Head(conv(3, 4), 4).train()
    model.body[1].eval()
    trace(model, IMAGE)
    assert model.training
    assert not model.body[1].training
    assert model.body[0].training


def test_the_digest_names_the_architecture_not_the_weights() -> None:
    one, two = (trace(Head(conv(3, 4), 4), IMAGE).digest for _ in range(2))
    other = trace(Head(conv(3, 5), 5), IMAGE).digest
    assert one == two != other


def test_a_batch_of_one_is_enough_to_trace() -> None:
    model = Head(conv(3, 4), 4).eval()
    single = (torch.randn(1, 3, 12, 12),)
    result = comb(model, single)
    pruned = prune(model, result, uniform_plan(result, 0.5))
    assert pruned(torch.randn(5, 3, 12, 12)).shape == (5, 5)


class MakesTensors(nn.Module):
    """Makes zeros and positions inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.shape[0], 8, device=x.device)
        for step in range(x.shape[1]):
            state = torch.tanh(self.a(x[:, step]) + state)
        return self.b(state) + torch.arange(5, device=x.device)


def test_tensors_made_inside_follow_batch_and_width() -> None:
    model, inputs = MakesTensors().eval(), (torch.randn(2, 7, 5),)
    result = comb(model, inputs)
    assert all(check.passed for check in measure(model, inputs, result))
    pruned = prune(model, result, uniform_plan(result, 0.5))
    assert pruned(torch.randn(9, 7, 5)).shape == (9, 5)
    assert "cpu" not in pruned.code.replace("# ", "")


class Frozen(nn.Module):
    """A norm that stays in eval mode, and a functional dropout that follows the module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.n(self.a(x)), 0.5, self.training).mean((2, 3))


def test_functional_dropout_follows_the_module() -> None:
    model = Frozen().eval()
    result = comb(model, IMAGE)
    pruned = prune(model, result, uniform_plan(result, 0.0))
    assert torch.equal(pruned(*IMAGE), pruned(*IMAGE))
    pruned.train()
    assert not torch.equal(pruned(*IMAGE), pruned(*IMAGE))
