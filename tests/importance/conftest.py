"""A small net whose groups are written down by hand, so that scores can be checked without the comb."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cpd.comb.group import Group, Slice
from cpd.comb.record import CombRecord, OperatorCost, Ragged, TensorSize

A, B = 4, 3  # channels after the first and second convolution


class TinyNet(nn.Module):
    """conv - batch norm - relu - conv - flatten - linear on 1x4x4 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, A, 3, padding=1)
        self.bn = nn.BatchNorm2d(A)
        self.conv2 = nn.Conv2d(A, B, 3, padding=1)
        self.head = nn.Linear(B * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.conv2(torch.relu(self.bn(self.conv1(x))))).flatten(1))
        return out


def column(indices: list[int]) -> np.ndarray:
    return np.asarray(indices, np.int64).reshape(-1, 1)


@pytest.fixture
def record() -> CombRecord:
    flat = np.arange(B * 16, dtype=np.int64).reshape(B, 16)
    groups = (
        Group(
            "conv1",
            A,
            (
                Slice("conv1.weight", 0, column(list(range(A)))),
                Slice("conv1.bias", 0, column(list(range(A)))),
                Slice("bn.weight", 0, column(list(range(A)))),
                Slice("bn.bias", 0, column(list(range(A)))),
                Slice("bn.running_mean", 0, column(list(range(A)))),
                Slice("bn.running_var", 0, column(list(range(A)))),
                Slice("conv2.weight", 1, column(list(range(A)))),
            ),
        ),
        Group(
            "conv2",
            B,
            (
                Slice("conv2.weight", 0, column(list(range(B)))),
                Slice("conv2.bias", 0, column(list(range(B)))),
                Slice("head.weight", 1, flat),
            ),
        ),
    )
    # atoms: 0..A-1 are conv1's channels, A..A+B-1 conv2's; extent 2 is the flattened axis
    extents = Ragged.of([list(range(A)), list(range(A, A + B)), np.repeat(np.arange(A, A + B), 16)])
    tensors = (
        TensorSize("conv1.weight", (A, 1, 3, 3), (0, -1, -1, -1), True),
        TensorSize("conv1.bias", (A,), (0,), True),
        TensorSize("bn.weight", (A,), (0,), True),
        TensorSize("bn.bias", (A,), (0,), True),
        TensorSize("bn.running_mean", (A,), (0,), False),
        TensorSize("bn.running_var", (A,), (0,), False),
        TensorSize("conv2.weight", (B, A, 3, 3), (1, 0, -1, -1), True),
        TensorSize("conv2.bias", (B,), (1,), True),
        TensorSize("head.weight", (2, B * 16), (-1, 2), True),
        TensorSize("head.bias", (2,), (-1,), True),
    )
    operators = (
        OperatorCost("conv2d", "conv1", "conv2d", 9.0 * 16, (0,)),
        OperatorCost("conv2d_1", "conv2", "conv2d", 9.0 * 16, (1, 0)),
        OperatorCost("linear", "head", "linear", 2.0, (2,)),
    )
    return CombRecord("tiny", groups, A + B, Ragged.of([[i] for i in range(A + B)]), extents, tensors, operators)


@pytest.fixture
def net() -> TinyNet:
    torch.manual_seed(3)
    net = TinyNet()
    net.bn.running_mean.uniform_(-0.5, 0.5)
    net.bn.running_var.uniform_(0.5, 1.5)
    nn.init.uniform_(net.bn.weight, 0.5, 1.5)
    nn.init.uniform_(net.bn.bias, -0.5, 0.5)
    return net.eval()


@pytest.fixture
def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(8, 1, 4, 4, generator=generator), torch.randint(0, 2, (8,), generator=generator)) for _ in range(3)
    ]
