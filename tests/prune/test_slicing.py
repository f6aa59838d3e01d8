"""Slices are copies that equal plain indexing, whatever the shape of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs

from cpd.prune import slicing
from cpd.prune.slicing import sliced


@given(
    shape=hs.lists(hs.integers(1, 9), min_size=1, max_size=4),
    seed=hs.integers(0, 999),
    turned=hs.booleans(),
    dtype=hs.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool]),
)
@settings(max_examples=150, deadline=None)
def test_a_slice_is_what_indexing_gives(shape: list[int], seed: int, turned: bool, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    tensor = torch.from_numpy(rng.integers(0, 99, shape)).to(dtype)
    if turned:
        tensor = tensor.transpose(0, -1)
    axes = [
        None if rng.random() < 0.3 else np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False)).astype(np.int64)
        for n in tensor.shape
    ]
    want = tensor.numpy()[np.ix_(*[np.arange(n) if a is None else a for n, a in zip(tensor.shape, axes, strict=True)])]
    got = sliced(tensor, axes)
    assert got.dtype == dtype
    assert np.array_equal(got.numpy(), want)
    assert got.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()


@pytest.mark.parametrize("kernel", [(), (1, 1), (2, 2)])
def test_rows_taken_chunk_by_chunk_leave_none_out(kernel: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "_CHUNK", 50)
    tensor = torch.randn(37, 11, *kernel)
    rows, columns = np.arange(0, 37, 2), np.array([0, 3, 10])
    assert torch.equal(sliced(tensor, [rows, columns]), tensor[rows][:, columns])


def test_nothing_left_is_empty() -> None:
    none = np.zeros(0, np.int64)
    assert sliced(torch.randn(4, 6, 3, 3), [none, np.array([1])]).shape == (0, 1, 3, 3)
    assert sliced(torch.randn(4, 6), [np.array([1]), none]).shape == (1, 0)
