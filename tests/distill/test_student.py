"""A cut in the middle of training takes the optimizer's state and the moving average along, unit by unit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cpd
from cpd.comb.comb import Comb
from cpd.distill.features import Taps
from cpd.distill.optimizer import make_scheduler, set_rate
from cpd.distill.settings import TrainSettings
from cpd.distill.student import Student
from cpd.errors import RunError
from cpd.prune.plan import uniform_plan
from cpd.tasks.task import Task


def sliced_by_hand(
    comb: Comb, name: str, tensor: Tensor, before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]
) -> Tensor:
    """Delete what the groups' own slices say, with no use of the positions that surgery computes."""
    array = tensor.numpy()
    alive: dict[int, list[int]] = {}
    gone: dict[int, set[int]] = {}
    for group in comb.groups:
        for piece in group.slices:
            if piece.tensor != name:
                continue
            dense = set(np.concatenate(piece.index).tolist())
            kept = {
                u: {int(p) for u2 in units for p in piece.index[u2]}
                for u, units in (("b", before[group.name]), ("a", after[group.name]))
            }
            gone.setdefault(piece.axis, set()).update(dense - kept["b"])
            alive[piece.axis] = sorted(set(alive.get(piece.axis, [])) | (kept["b"] - kept["a"]))
    for axis in gone:
        size = array.shape[axis] + len(gone[axis])
        living = [p for p in range(size) if p not in gone[axis]]
        array = np.delete(array, [living.index(p) for p in alive[axis]], axis)
    return torch.from_numpy(array)


def train_a_little(student: Student, steps: int = 3) -> None:
    generator = torch.Generator().manual_seed(7)
    student.module.train()
    for _ in range(steps):
        x, y = torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 10, (16,), generator=generator)
        functional.cross_entropy(student.module(x), y).backward()
        student.optimizer.step()
        student.optimizer.zero_grad()
        if student.average:
            student.average.update(student.module)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_state_is_cut_with_the_weights(model: nn.Module, comb: Comb, optimizer: str) -> None:
    settings = TrainSettings(optimizer=optimizer, average=0.9)
    whole = {g.name: tuple(range(g.width)) for g in comb.groups}
    student = Student.whole(model, comb, settings, whole, torch.device("cpu"))
    scores = {g.name: np.random.default_rng(g.width).random(g.width) for g in comb.groups}
    for ratio in (0.25, 0.6):  # twice, so that the second cut starts from a network that is already smaller
        train_a_little(student)
        before, after = student.keep, uniform_plan(comb, ratio, scores).keep
        weights = {k: v.clone() for k, v in student.module.state_dict().items()}
        average = {k: v.clone() for k, v in student.average.module.state_dict().items()}  # type: ignore[union-attr]
        state = {n: copy.deepcopy(student.optimizer.state[p]) for n, p in student.module.named_parameters()}
        student.cut(after)
        assert student.module.training
        for name, tensor in student.module.state_dict().items():
            assert torch.equal(tensor, sliced_by_hand(comb, name, weights[name], before, after)), name
        for name, tensor in student.average.module.state_dict().items():  # type: ignore[union-attr]
            assert torch.equal(tensor, sliced_by_hand(comb, name, average[name], before, after)), name
        named = dict(student.module.named_parameters())
        assert {id(p) for g in student.optimizer.param_groups for p in g["params"]} == {id(p) for p in named.values()}
        for name, parameter in named.items():
            new = student.optimizer.state[parameter]
            assert set(new) == set(state[name])
            for key, value in state[name].items():
                if isinstance(value, Tensor) and value.dim():
                    assert torch.equal(new[key], sliced_by_hand(comb, name, value, before, after)), (name, key)
                else:
                    assert new[key] == value
    assert sum(p.numel() for p in student.module.parameters()) < 0.4 * sum(p.numel() for p in model.parameters())
    train_a_little(student)


def test_the_average_is_what_is_handed_over(model: nn.Module, comb: Comb) -> None:
    whole = {g.name: tuple(range(g.width)) for g in comb.groups}
    student = Student.whole(model, comb, TrainSettings(average=0.5), whole, torch.device("cpu"))
    assert student.handed_over is not student.module
    plain = Student.whole(model, comb, TrainSettings(), whole, torch.device("cpu"))
    assert plain.handed_over is plain.module


def test_the_rate_rises_and_falls(model: nn.Module) -> None:
    settings = TrainSettings(lr=1.0, warmup=0.1, least_lr=0.01)
    student = Student(model, settings)
    scheduler = make_scheduler(student.optimizer, settings, 100)
    rates = [set_rate(student.optimizer, scheduler, step) for step in range(100)]
    assert rates[0] < 0.02
    assert np.argmax(rates) == 10
    assert rates[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    expected = 0.01 + 0.99 * (1 + np.cos(np.pi * 40 / 90)) / 2  # cosine over the 90 steps after the warm-up
    assert rates[50] == pytest.approx(expected, rel=1e-3)
    # asked out of order, as after a resume, it gives the same
    assert set_rate(student.optimizer, scheduler, 50) == rates[50]


@pytest.mark.parametrize("row, words", [({"optimizer": "adamx"}, "no optimizer 'adamx'"), ({"scheduler": "x"}, "no scheduler 'x'"),
                                        ({"scheduler": "plateau"}, "waits for a metric")])  # fmt: skip
def test_unknown_names_are_one_clear_line(model: nn.Module, row: dict[str, str], words: str) -> None:
    settings = TrainSettings(**row)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=words):
        make_scheduler(Student(model, settings).optimizer, settings, 10)


def test_taps_see_the_same_network_and_the_same_channels(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...]
) -> None:
    model.stem[1].weight.data.uniform_(0.5, 1.5)  # type: ignore[index,union-attr]
    taps = Taps(comb, model, torch.device("cpu"))
    keep = uniform_plan(comb, 0.5).keep
    student = cpd.prune(model, comb, uniform_plan(comb, 0.5))
    taps.follow(student, keep)
    outputs, teacher, pairs = taps.see(inputs[0])
    torch.testing.assert_close(teacher, model(inputs[0]))
    torch.testing.assert_close(outputs, student(inputs[0]))
    with torch.no_grad():
        stem = model.stem[:2](inputs[0])  # type: ignore[index,operator]
    kept = list(keep["stem.0"])
    assert len(kept) == 8
    torch.testing.assert_close(pairs[0][1], stem[:, kept])
    torch.testing.assert_close(pairs[0][0], stem[:, kept])  # the first layer reads the image: cutting changes nothing
    (pairs[-1][0] - pairs[-1][1]).square().mean().backward()
    assert dict(student.named_parameters())["stem.0.weight"].grad is not None


def test_what_a_cut_removes_is_taken_over_by_weights_and_average_alike(model: nn.Module, comb: Comb, task: Task) -> None:
    """The output moves less than without; averages change by the same mixtures; the optimizer's state is only cut."""
    settings = TrainSettings(optimizer="sgd", average=0.9)
    whole = {g.name: tuple(range(g.width)) for g in comb.groups}
    after = uniform_plan(comb, 0.4).keep
    images, _ = next(iter(task.train_batches(256, augment=False)))
    ends = []
    for given in ((), (images,)):
        student = Student.whole(model, comb, settings, whole, torch.device("cpu"))
        torch.manual_seed(1)  # of its dropout
        train_a_little(student)
        assert student.average is not None
        student.average.module.load_state_dict(student.module.state_dict())
        statistics = student.module.state_dict()["stem.1.running_mean"].clone()
        with torch.no_grad():
            before = student.module.eval()(images)
        student.module.train()
        student.cut(after, given)
        with torch.no_grad():
            off = (student.module.eval()(images) - before).square().mean()
        for name, tensor in student.average.module.state_dict().items():
            assert torch.equal(tensor, student.module.state_dict()[name]), name
        assert torch.equal(student.module.state_dict()["stem.1.running_mean"], statistics[list(after["stem.0"])])
        ends.append((student, float(off)))
    (plain, far), (taken, near) = ends
    assert near < 0.7 * far
    changed = {n for n, t in taken.module.state_dict().items() if not torch.equal(t, plain.module.state_dict()[n])}
    readers = ("body.0", "body.3", "hidden", "head")
    assert changed == {f"{layer}.{part}" for layer in readers for part in ("weight", "bias")}
    states = [[s.optimizer.state[p]["momentum_buffer"] for p in s.module.parameters()] for s in (plain, taken)]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
