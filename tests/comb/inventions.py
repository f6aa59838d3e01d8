"""Structures that no list names, each in a few lines. Every entry of INVENTIONS builds a module and its inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Made = tuple[nn.Module, tuple[Tensor, ...]]


def conv(inner: int, outer: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, kernel, padding=kernel // 2), nn.BatchNorm2d(outer), nn.ReLU())


class Pooled(nn.Module):
    """A stem of 8 channels, the structure, pooling and a classifier."""

    def __init__(self, middle: nn.Module, width: int) -> None:
        super().__init__()
        self.stem, self.middle, self.fc = conv(3, 8), middle, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.middle(self.stem(x)).mean((2, 3)))


class DynamicConv(nn.Module):
    """A kernel for every image, mixed from several; the batch is folded into the groups (Chen et al. 2020)."""

    def __init__(self, i: int = 8, o: int = 6, n: int = 3) -> None:
        super().__init__()
        self.att = nn.Linear(i, n)
        self.w = nn.Parameter(torch.randn(n, o, i, 3, 3))
        self.i, self.o = i, o

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        a = F.softmax(self.att(x.mean((2, 3))), 1)
        weight = torch.einsum("bn,noikl->boikl", a, self.w).reshape(b * self.o, self.i, 3, 3)
        y = F.conv2d(x.reshape(1, b * c, h, w), weight, padding=1, groups=b)
        return y.reshape(b, self.o, h, w)


class Modulated(nn.Module):
    """Weights scaled by a style and brought back to unit length, a kernel for every image (StyleGAN2)."""

    def __init__(self, c: int = 8, o: int = 6) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(1, o, c, 3, 3))
        self.s = nn.Linear(c, c)
        self.o = o

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        st = self.s(x.mean((2, 3))).view(b, 1, c, 1, 1)
        wt = self.w * st
        wt = wt * torch.rsqrt(wt.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        return F.conv2d(x.reshape(1, -1, h, w), wt.reshape(b * self.o, c, 3, 3), padding=1, groups=b).view(
            b, self.o, h, w
        )


class Baddbmm(nn.Module):
    """Heads folded into the batch, a bias repeated for every image."""

    def __init__(self, c: int = 8, h: int = 2) -> None:
        super().__init__()
        self.h = h
        self.qkv, self.o = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.b = nn.Parameter(torch.zeros(h, 9, 9))

    def forward(self, x: Tensor) -> Tensor:
        t = F.adaptive_avg_pool2d(x, 3).flatten(2).transpose(1, 2)
        n = t.shape[0]
        q, k, v = (u.reshape(n, 9, self.h, -1).transpose(1, 2).flatten(0, 1) for u in self.qkv(t).chunk(3, -1))
        a = torch.baddbmm(self.b.repeat(n, 1, 1), q, k.transpose(1, 2), alpha=0.5).softmax(-1)
        return self.o(torch.bmm(a, v).view(n, self.h, 9, -1).transpose(1, 2).flatten(2)).transpose(1, 2).unsqueeze(-1)


class STN(nn.Module):
    """An image warped by a matrix that it predicts itself (Jaderberg et al. 2015)."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.l = nn.Sequential(nn.Linear(c, 6), nn.ReLU(), nn.Linear(6, 6))
        self.v = nn.Conv2d(c, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        t = self.l(x.mean((2, 3))).view(-1, 2, 3)
        y = self.v(x)
        return F.grid_sample(y, F.affine_grid(t, list(y.shape), align_corners=False), align_corners=False)


class Deformable(nn.Module):
    """Sampling at learned offsets."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.o = nn.Conv2d(c, 2, 3, padding=1)
        self.v = nn.Conv2d(c, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        g = torch.stack(torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="xy"), -1).to(x)
        g = g + self.o(x).permute(0, 2, 3, 1).tanh() * 0.1
        return F.grid_sample(self.v(x), g, align_corners=False)


class Activations(nn.Module):
    """Rarer activations in a row, a gated linear unit at the end."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a = nn.Conv2d(c, 12, 1)
        self.o = nn.Conv2d(6, 6, 1)
        self.f = nn.Sequential(
            nn.CELU(),
            nn.Hardshrink(),
            nn.Softsign(),
            nn.Tanhshrink(),
            nn.LogSigmoid(),
            nn.RReLU(),
            nn.Threshold(0.1, 0.0),
            nn.Hardsigmoid(),
            nn.SELU(),
            nn.GLU(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.f(self.a(x)))


class InPlaceZero(nn.Module):
    """Two channels overwritten by zeros."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.b = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :2] = 0
        return self.b(x)


class InPlaceOne(nn.Module):
    """Three channels overwritten by ones."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.b = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :3] = 1
        return self.b(x)


class Accumulate(nn.Module):
    """An empty tensor filled part by part."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(c, 4, 1), nn.Conv2d(c, 6, 1)
        self.o = nn.Conv2d(10, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(x.shape[0], 10, *x.shape[2:])
        y[:, :4] = self.a(x)
        y[:, 4:] = self.b(x)
        return self.o(y)


class Involution(nn.Module):
    """A kernel for every pixel, computed from it (Li et al. 2021)."""

    def __init__(self, c: int = 8, g: int = 2, k: int = 3) -> None:
        super().__init__()
        self.c, self.g, self.k = c, g, k
        self.r = nn.Conv2d(c, 4, 1)
        self.w = nn.Conv2d(4, g * k * k, 1)
        self.unfold = nn.Unfold(k, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        weight = self.w(F.relu(self.r(x))).view(b, self.g, 1, self.k * self.k, h, w)
        patches = self.unfold(x).view(b, self.g, self.c // self.g, self.k * self.k, h, w)
        return (weight * patches).sum(3).view(b, c, h, w)


class NonLocal(nn.Module):
    """Attention over space (Wang et al. 2018)."""

    def __init__(self, c: int = 8, m: int = 4) -> None:
        super().__init__()
        self.t, self.p, self.g, self.o = nn.Conv2d(c, m, 1), nn.Conv2d(c, m, 1), nn.Conv2d(c, m, 1), nn.Conv2d(m, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        t, p, g = (f(x).flatten(2) for f in (self.t, self.p, self.g))
        a = F.softmax(t.transpose(1, 2) @ p, -1)
        return x + self.o((g @ a.transpose(1, 2)).view(b, -1, h, w))


class LinearAttention(nn.Module):
    """Keys and values meet first (Katharopoulos et al. 2020)."""

    def __init__(self, c: int = 8, h: int = 2) -> None:
        super().__init__()
        self.h = h
        self.q, self.k, self.v, self.o = (nn.Linear(c, c) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, c, hh, w = x.shape
        t = x.flatten(2).transpose(1, 2)
        q, k, v = (f(t).view(b, -1, self.h, c // self.h).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        kv = k.transpose(-1, -2) @ v
        z = 1 / (q @ k.sum(2).unsqueeze(-1) + 1e-6)
        y = (q @ kv * z).transpose(1, 2).reshape(b, -1, c)
        return x + self.o(y).transpose(1, 2).view(b, c, hh, w)


class MoEBatched(nn.Module):
    """A mixture of experts with soft gates, the experts' weights in one tensor."""

    def __init__(self, c: int = 8, e: int = 3, m: int = 10) -> None:
        super().__init__()
        self.gate = nn.Linear(c, e)
        self.a = nn.Parameter(torch.randn(e, c, m))
        self.b = nn.Parameter(torch.randn(e, m, c))
        self.ba = nn.Parameter(torch.zeros(e, m))

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(2).transpose(1, 2)
        g = self.gate(t).softmax(-1)
        hdn = F.gelu(torch.einsum("bnc,ecm->bnem", t, self.a) + self.ba)
        y = torch.einsum("bnem,emc,bne->bnc", hdn, self.b, g)
        return (t + y).transpose(1, 2).unflatten(-1, x.shape[-2:])


class SoftMoE(nn.Module):
    """Experts read weighted means of all tokens (Puigcerver et al. 2024)."""

    def __init__(self, c: int = 8, e: int = 2, p: int = 3, m: int = 10) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.randn(c, e, p))
        self.a = nn.Parameter(torch.randn(e, c, m))
        self.b = nn.Parameter(torch.randn(e, m, c))

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(2).transpose(1, 2)
        logits = torch.einsum("bnc,cep->bnep", t, self.phi)
        d = logits.softmax(1)
        c = logits.flatten(2).softmax(-1).view_as(logits)
        z = torch.einsum("bnc,bnep->bepc", t, d)
        y = torch.einsum("bepc,ecm->bepm", z, self.a).relu()
        y = torch.einsum("bepm,emc->bepc", y, self.b)
        return torch.einsum("bepc,bnep->bnc", y, c).transpose(1, 2).unflatten(-1, x.shape[-2:])


class SK(nn.Module):
    """Two kernel sizes, weighed by channel (Li et al. 2019)."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a, self.b = conv(c, c), conv(c, c, 5)
        self.z = nn.Linear(c, 4)
        self.fa, self.fb = nn.Linear(4, c), nn.Linear(4, c)

    def forward(self, x: Tensor) -> Tensor:
        u = torch.stack([self.a(x), self.b(x)], 1)
        z = F.relu(self.z(u.sum(1).mean((2, 3))))
        w = torch.stack([self.fa(z), self.fb(z)], 1).softmax(1)
        return (u * w[..., None, None]).sum(1)


class CoordAttention(nn.Module):
    """Gates along each axis of space (Hou et al. 2021)."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a = conv(c, 6, 1)
        self.h, self.w = nn.Conv2d(6, c, 1), nn.Conv2d(6, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.a(torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], 2))
        a, b = y.split([h, w], 2)
        return x * self.h(a).sigmoid() * self.w(b.transpose(2, 3)).sigmoid()


class Shift(nn.Module):
    """A quarter of the channels moves each way."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.c = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = x.chunk(4, 1)
        return self.c(torch.cat([a.roll(1, 2), b.roll(-1, 2), c.roll(1, 3), d.roll(-1, 3)], 1))


class Interleave(nn.Module):
    """Channels of two branches alternate."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Conv2d(c, 5, 1), nn.Conv2d(c, 5, 3, padding=1), nn.Conv2d(10, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.stack([self.a(x), self.b(x)], 2).flatten(1, 2))


class EvenOdd(nn.Module):
    """Even channels gated by odd ones."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a, self.o = nn.Conv2d(c, 10, 1), nn.Conv2d(5, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.o(y[:, 0::2] * y[:, 1::2].sigmoid())


class TSM(nn.Module):
    """Channels shifted along time; frames in the batch axis (Lin et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.f = conv(3, 8), conv(8, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        y = self.a(x.flatten(0, 1))
        y = y.view(n, t, *y.shape[1:])
        z = torch.zeros_like(y)
        z[:, :-1, :2] = y[:, 1:, :2]
        z[:, 1:, 2:4] = y[:, :-1, 2:4]
        z[:, :, 4:] = y[:, :, 4:]
        return self.f(self.b(z.flatten(0, 1)).mean((2, 3)).view(n, t, -1).mean(1))


class Perceiver(nn.Module):
    """Latents that read the image three times with shared weights."""

    def __init__(self, c: int = 8, n: int = 4, d: int = 12) -> None:
        super().__init__()
        self.l = nn.Parameter(torch.randn(n, d))
        self.a = nn.MultiheadAttention(d, 3, kdim=c, vdim=c, batch_first=True)
        self.m = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d))
        self.o = nn.Linear(d, 6)

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(2).transpose(1, 2)
        y = self.l.expand(x.shape[0], -1, -1)
        for _ in range(3):
            y = y + self.a(y, t, t)[0]
            y = y + self.m(y)
        return self.o(y).transpose(1, 2).unsqueeze(-1)


class ConvLSTM(nn.Module):
    """A recurrent cell of convolutions, three steps."""

    def __init__(self, c: int = 8, m: int = 6) -> None:
        super().__init__()
        self.m = m
        self.g = nn.Conv2d(c + m, 4 * m, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], self.m, *x.shape[2:], device=x.device)
        for _ in range(3):
            i, f, o, g = self.g(torch.cat([x, h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


class SSM(nn.Module):
    """A selective state space, scanned in a loop (Gu and Dao 2023)."""

    def __init__(self, c: int = 8, n: int = 4) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(c, n))
        self.bc = nn.Linear(c, 2 * n + 1)
        self.dt = nn.Linear(1, c)
        self.d = nn.Parameter(torch.ones(c))
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        b, c, hh, w = x.shape
        t = x.flatten(2).transpose(1, 2)[:, :6]
        B, C, r = self.bc(t).split([self.n, self.n, 1], -1)
        dt = F.softplus(self.dt(r))
        A = -torch.exp(self.a)
        state, ys = t.new_zeros(b, c, self.n), []
        for k in range(6):
            state = torch.exp(dt[:, k, :, None] * A) * state + dt[:, k, :, None] * B[:, k, None] * t[:, k, :, None]
            ys.append((state * C[:, k, None]).sum(-1))
        y = torch.stack(ys, 1) + t * self.d
        return y.transpose(1, 2)[..., None]


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(12, 5))
        self.b = nn.Parameter(torch.randn(8, 12))
        self.c = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.linear(x, self.a) + self.c)
        z = F.linear(h, self.b)
        h = F.relu(F.linear(z, self.b.t()) + self.c)
        return F.linear(h, self.a.t())


class CrossAttention(nn.Module):
    """Two inputs of different length."""

    def __init__(self, d: int = 12, h: int = 3) -> None:
        super().__init__()
        self.h = h
        self.ea, self.eb = nn.Linear(5, d), nn.Linear(7, d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.fc = nn.Linear(d, 4)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = self.ea(a), self.eb(b)
        q, k, v = (f(t).unflatten(-1, (self.h, -1)).transpose(1, 2) for f, t in ((self.q, a), (self.k, b), (self.v, b)))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.fc(a + self.o(y))


class FiLM(nn.Module):
    """A second input scales and shifts the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.e = conv(3, 8)
        self.g = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 16))
        self.n = nn.BatchNorm2d(8, affine=False)
        self.f = nn.Linear(8, 5)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        a, b = self.g(c).chunk(2, 1)
        return self.f(F.relu(self.n(self.e(x)) * (1 + a[..., None, None]) + b[..., None, None]).mean((2, 3)))


class NetVLAD(nn.Module):
    """Residuals to learned centres, normalised twice."""

    def __init__(self, c: int = 8, k: int = 3) -> None:
        super().__init__()
        self.a = nn.Conv2d(c, k, 1)
        self.m = nn.Parameter(torch.randn(k, c))
        self.f = nn.Linear(k * c, 6)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x).flatten(2).softmax(1)
        t = x.flatten(2)
        v = torch.einsum("bkn,bcn->bkc", a, t) - a.sum(-1, keepdim=True) * self.m
        return self.f(F.normalize(F.normalize(v, dim=2).flatten(1), dim=1))[:, :, None, None]


class Haar(nn.Module):
    """A wavelet: a fixed kernel from a buffer."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        k = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).view(4, 1, 2, 2) / 2
        self.register_buffer("k", k.repeat(c, 1, 1, 1))
        self.o = nn.Conv2d(4 * c, 6, 1)
        self.c = c

    def forward(self, x: Tensor) -> Tensor:
        return self.o(F.conv2d(x, self.k, stride=2, groups=self.c))


class Contrastive(nn.Module):
    """Two encoders whose embeddings meet."""

    def __init__(self) -> None:
        super().__init__()
        self.t, self.u = (
            nn.Sequential(conv(3, 8), nn.Conv2d(8, 6, 1)),
            nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 6)),
        )
        self.s = nn.Parameter(torch.tensor(1.0))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        p, q = self.t(a).mean((2, 3)), self.u(b)
        p, q = p / p.norm(dim=-1, keepdim=True), q / q.norm(dim=-1, keepdim=True)
        logits = self.s.exp() * p @ q.t()
        return logits, logits.t()


def _pooled(middle: Callable[[], nn.Module], width: int) -> Callable[[], Made]:
    return lambda: (Pooled(middle(), width), (torch.randn(2, 3, 12, 12),))


INVENTIONS: dict[str, Callable[[], Made]] = {
    **{
        c.__name__: _pooled(c, 8)
        for c in (
            Baddbmm,
            InPlaceZero,
            InPlaceOne,
            Involution,
            NonLocal,
            LinearAttention,
            MoEBatched,
            SoftMoE,
            SK,
            CoordAttention,
            Shift,
            SSM,
        )
    },
    **{
        c.__name__: _pooled(c, 6)
        for c in (
            DynamicConv,
            Modulated,
            STN,
            Deformable,
            Activations,
            Interleave,
            EvenOdd,
            Perceiver,
            ConvLSTM,
            NetVLAD,
            Haar,
        )
    },
    "Accumulate": _pooled(Accumulate, 7),
    "Tied": lambda: (Tied(), (torch.randn(2, 5),)),
    "CrossAttention": lambda: (CrossAttention(), (torch.randn(2, 6, 5), torch.randn(2, 4, 7))),
    "FiLM": lambda: (FiLM(), (torch.randn(2, 3, 8, 8), torch.randn(2, 4))),
    "Contrastive": lambda: (Contrastive(), (torch.randn(2, 3, 8, 8), torch.randn(2, 5))),
    "TSM": lambda: (TSM(), (torch.randn(2, 3, 3, 8, 8),)),
}
