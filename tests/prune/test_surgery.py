"""A pruned model is a module like any other."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from networks import NETWORKS, Attention, Head, Residual, conv
from torch import Tensor, nn

import cpd
from cpd.comb.comb import comb
from cpd.errors import PlanError
from cpd.prune.index import kept_positions, relative_positions
from cpd.prune.plan import plan_ratios, uniform_plan
from cpd.prune.surgery import prune, recut

IMAGE = (torch.randn(2, 3, 12, 12),)


def subject() -> nn.Module:
    torch.manual_seed(0)
    return Head(nn.Sequential(Residual(), nn.Dropout(0.5)), 8).eval()


def test_it_follows_train_and_eval_as_the_dense_model_does() -> None:
    """Batch norm takes batch statistics and updates its averages in training, and only there; dropout likewise."""
    dense = subject()
    result = comb(dense, IMAGE)
    twin = prune(dense, result, uniform_plan(result, 0.0))
    x = torch.randn(8, 3, 12, 12)
    for model in (dense, twin):
        model.train()
        torch.manual_seed(1)
        model.out = model(x)  # type: ignore[assignment]
        model.eval()
    assert torch.equal(dense.out, twin.out)  # type: ignore[arg-type]
    for name, tensor in dense.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(twin.state_dict()[name], tensor)
    assert torch.equal(dense(x), twin(x))
    before = {k: v.clone() for k, v in twin.state_dict().items()}
    twin(x)
    assert all(torch.equal(v, before[k]) for k, v in twin.state_dict().items())


def test_gradients_equal_the_dense_models() -> None:
    dense = subject()
    result = comb(dense, IMAGE)
    twin = prune(dense, result, uniform_plan(result, 0.0))
    for model in (dense, twin):
        model(IMAGE[0]).square().sum().backward()
    theirs = dict(twin.named_parameters())
    for name, parameter in dense.named_parameters():
        torch.testing.assert_close(theirs[name].grad, parameter.grad)


def test_the_dense_model_is_untouched_and_names_stay() -> None:
    dense = subject()
    before = {k: v.clone() for k, v in dense.state_dict().items()}
    result = comb(dense, IMAGE)
    pruned = prune(dense, result, uniform_plan(result, 0.5))
    assert all(torch.equal(v, before[k]) for k, v in dense.state_dict().items())
    assert set(pruned.state_dict()) == set(before)
    pruned.load_state_dict(pruned.state_dict())


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_training_the_cut_network_does_not_reach_the_dense_one(ratio: float) -> None:
    """Whole tensors, too, are the cut network's own: the teacher must stay what it is."""
    dense = subject()
    result = comb(dense, IMAGE)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    cut = prune(dense, result, uniform_plan(result, ratio)).train()
    again = recut(cut, result, uniform_plan(result, ratio).keep, uniform_plan(result, ratio).keep)
    trained = {name: tensor.clone() for name, tensor in cut.state_dict().items()}
    again(torch.randn(8, 3, 12, 12)).square().mean().backward()
    torch.optim.SGD(again.parameters(), lr=1.0).step()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in cut.state_dict().items())
    assert any(not torch.equal(tensor, trained[name]) for name, tensor in again.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


def test_a_copy_is_a_model_of_its_own() -> None:
    dense = subject()
    result = comb(dense, IMAGE)
    pruned = prune(dense, result, uniform_plan(result, 0.5))
    want = pruned(*IMAGE)
    twin = copy.deepcopy(pruned)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(pruned(*IMAGE), want)
    assert not torch.equal(twin(*IMAGE), want)
    assert not any(a is b for a, b in zip(pruned.parameters(), twin.parameters(), strict=True))


def test_tensors_with_two_names_stay_one() -> None:
    build, shape, _ = NETWORKS["shared"]
    dense, inputs = build().eval(), (torch.randn(shape),)
    result = comb(dense, inputs)
    pruned = prune(dense, result, uniform_plan(result, 0.5))
    modules = dict(pruned.named_modules(remove_duplicate=False))
    first, second = modules["body.step.0"], modules["body.again.0"]
    assert first.weight is second.weight
    assert set(pruned.state_dict()) == set(dense.state_dict())


def test_cutting_in_steps_equals_cutting_at_once() -> None:
    dense = subject()
    result = comb(dense, IMAGE)
    rng = np.random.default_rng(0)
    scores = {g.name: rng.random(g.width) for g in result.groups}
    little, much = (uniform_plan(result, r, scores) for r in (0.25, 0.5))
    steps = recut(prune(dense, result, little), result, little.keep, much.keep)
    once = prune(dense, result, much)
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, steps.state_dict()[name])
    assert torch.equal(once(*IMAGE), steps(*IMAGE))


def test_positions_find_what_is_left() -> None:
    dense = subject()
    record = comb(dense, IMAGE).record
    little, much = uniform_plan(record, 0.25), uniform_plan(record, 0.5)
    old, new = kept_positions(record, little.keep), kept_positions(record, much.keep)
    for name, axes in relative_positions(old, new).items():
        for axis, where in enumerate(axes):
            if where is not None:
                base = old[name][axis]
                wide = np.arange(dense.state_dict()[name].shape[axis]) if base is None else base
                assert np.array_equal(wide[where], new[name][axis])


def test_the_attention_scale_stays_the_dense_one() -> None:
    """Cutting channels that are all zero must change nothing, whatever the kernel divides by."""
    torch.manual_seed(0)
    dense = Attention().eval()
    inputs = (torch.randn(2, 7, 5),)
    with torch.no_grad():
        for part in range(3):
            for head in range(4):
                start = part * 16 + head * 4
                dense.qkv.weight[start + 2 : start + 4] = 0
                dense.qkv.bias[start + 2 : start + 4] = 0
    result = comb(dense, inputs)
    pruned = prune(dense, result, plan_ratios(result, {"qkv:channels": 0.5, "qkv:channels#2": 0.5}))
    assert pruned.state_dict()["qkv.weight"].shape == (24, 16)
    torch.testing.assert_close(pruned(*inputs), dense(*inputs))


def test_frozen_parameters_stay_frozen() -> None:
    dense = subject()
    for parameter in dense.fc.parameters():
        parameter.requires_grad_(False)
    result = comb(dense, IMAGE)
    pruned = prune(dense, result, uniform_plan(result, 0.5))
    flags = {n: p.requires_grad for n, p in pruned.named_parameters()}
    assert flags == {n: p.requires_grad for n, p in dense.named_parameters()}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(1, 8)

    def forward(self, image: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        y = self.a(image) + self.b(depth)
        return y.mean((1, 2, 3)), y.amax((2, 3)).sum(1)


def test_several_inputs_and_outputs_keep_the_call_signature() -> None:
    dense = TwoInputs().eval()
    inputs = (torch.randn(2, 3, 8, 8), torch.randn(2, 1, 8, 8))
    result = comb(dense, inputs)
    pruned = prune(dense, result, uniform_plan(result, 0.5))
    out = pruned(*inputs)
    assert isinstance(out, tuple)
    assert [o.shape for o in out] == [o.shape for o in dense(*inputs)]


def test_a_plan_for_another_model_is_refused() -> None:
    dense = subject()
    result = comb(dense, IMAGE)
    other, inputs = cpd.load_model("timm:test_resnet")
    with pytest.raises(PlanError, match="another model"):
        prune(other, comb(other, inputs), uniform_plan(result, 0.5))


def test_the_graph_runs_as_fast_as_it_reads() -> None:
    """No Python besides one call an operator: the graph has no more nodes than the model has operators."""
    dense = subject()
    result = comb(dense, IMAGE)
    pruned = prune(dense, result, uniform_plan(result, 0.5))
    calls = [n for n in pruned.graph.nodes if n.op == "call_function"]
    traced = [n for n in result.trace.graph.nodes if n.op == "call_function"]
    assert len(calls) <= len(traced) + 1
