"""Small networks, each with one structure that a comb has to understand. Inputs are (2, 3, 12, 12) unless noted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inner: int, outer: int, **kwargs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1, **kwargs), nn.BatchNorm2d(outer), nn.ReLU(inplace=True))


class Head(nn.Module):
    """Body, global pooling, classifier."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body, self.fc = body, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = conv(3, 8), conv(8, 12), nn.Conv2d(12, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return F.relu(x + self.two(self.one(x)))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 6), conv(6, 4), conv(10, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(torch.cat([x, self.b(x)], 1))


class OptionA(nn.Module):
    """A zero-padded shortcut (He et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(3, 8), nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return F.relu(self.body(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.up, self.out = conv(3, 8), nn.Linear(8, 4), nn.Linear(4, 8), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return self.out(x * gate[:, :, None, None])


class Gated(nn.Module):
    """A gated linear unit: two halves of one axis multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self._glu(self.up(x)))

    @staticmethod
    def _glu(x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * torch.sigmoid(gate)


class MaxOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.up(x).split(6, 1)
        return self.down(torch.maximum(a, b))


class Shuffle(nn.Module):
    """Grouped convolutions with a channel shuffle between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv(3, 8), conv(8, 8, groups=2), conv(8, 8, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.stem(x))
        n, c, h, w = x.shape
        return self.b(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class Branches(nn.Module):
    """Two halves of one axis, treated differently: same slices, and not exchangeable."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = conv(3, 8), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, 1)
        return self.out(torch.cat([a, b.roll(1, 3)], 1))


class Flattened(nn.Module):
    """Space flattened into the classifier: a channel owns a run of its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.hidden, self.fc = conv(3, 6), nn.Linear(6 * 9, 10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.hidden(F.max_pool2d(self.body(x), 4).flatten(1))))


class SubPixel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.pixel_shuffle(self.up(x), 2))


class UNet(nn.Module):
    """Transposed convolution, resizing and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.up, self.c, self.out = (
            conv(3, 6),
            conv(6, 8),
            nn.ConvTranspose2d(8, 4, 2, 2),
            conv(10, 6),
            nn.Conv2d(6, 3, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.up(self.b(F.max_pool2d(x, 2)))
        y = F.interpolate(y, scale_factor=1.0, mode="bilinear")
        return self.out(self.c(torch.cat([x, y], 1)))


class Shared(nn.Module):
    """One module called several times, and one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.step, self.out = conv(3, 8), conv(8, 8), conv(8, 6)
        self.again = self.step

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.again(self.step(self.step(self.stem(x)))))


class Attention(nn.Module):
    """One attention layer over (B, 7, 16): fused or separate projections, with or without the fused kernel."""

    def __init__(self, fused_qkv: bool = True, kernel: bool = True, norm: bool = False) -> None:
        super().__init__()
        self.heads, self.fused_qkv, self.kernel = 4, fused_qkv, kernel
        self.embed, self.ln = nn.Linear(5, 16), nn.LayerNorm(16)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        if fused_qkv:
            self.qkv = nn.Linear(16, 48)
        else:
            self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.q_norm = nn.LayerNorm(4) if norm else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(1, 4, 8, 8))
        self.proj, self.fc1, self.fc2, self.out = (
            nn.Linear(16, 16),
            nn.Linear(16, 24),
            nn.Linear(24, 16),
            nn.Linear(16, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.embed(x)], 1)
        b, n, c = x.shape
        y = self.ln(x)
        if self.fused_qkv:
            q, k, v = self.qkv(y).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (p(y).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        q = self.q_norm(q)
        if self.kernel:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        else:
            y = ((q @ k.transpose(-2, -1)) * 0.5 + self.bias).softmax(-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        x = x + self.fc2(F.gelu(self.fc1(x)))
        return self.out(x[:, 0])


class Einsum(nn.Module):
    """(B, 7, 5) tokens, projections by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 12)
        self.w = nn.Parameter(torch.randn(12, 4, 6))
        self.out = nn.Parameter(torch.randn(4, 6, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bnhd,hdo->bno", torch.einsum("bnc,chd->bnhd", self.embed(x), self.w), self.out)


class TwoViews(nn.Module):
    """One axis viewed as 8x8 and as 4x16: the finest structure that both allow is 4x2x8."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(5, 64)
        self.a, self.b = nn.Linear(8, 3, bias=False), nn.Linear(16, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.a(x.view(*x.shape[:2], 8, 8)).sum(2) + self.b(x.view(*x.shape[:2], 4, 16)).sum(2)


class WeightStandardised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.gain = (
            conv(3, 8),
            nn.Conv2d(8, 6, 3, padding=1),
            nn.Parameter(torch.ones(6, 1, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        w = self.body.weight
        flat = F.batch_norm(
            w.reshape(1, w.shape[0], -1), None, None, weight=self.gain.view(-1), training=True
        ).reshape_as(w)
        return F.conv2d(self.stem(x), flat, self.body.bias, padding=1)


class Structured(nn.Module):
    """Returns a dictionary with a tuple and a list in it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> dict[str, object]:
        x = self.a(x)
        return {"map": self.b(x), "pair": (self.b(x).mean(1), [self.b(x).sum()])}


class Recurrent(nn.Module):
    """(B, 7, 5) tokens through a recurrent layer, its states made inside the forward pass."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.embed, self.layer, self.out = nn.Linear(5, 8), layer, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(self.embed(x))[0])


class Library(nn.Module):
    """torch's own attention and encoder layer; as many heads as channels a head, which are not the same units."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(5, 16), nn.Linear(16, 5)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y, _ = self.attention(x, x, x, need_weights=False)
        return self.out(self.layer(x + y))


class GroupedQuery(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, repeat: bool) -> None:
        super().__init__()
        self.embed, self.q, self.k, self.v = nn.Linear(5, 16), nn.Linear(16, 32), nn.Linear(16, 16), nn.Linear(16, 16)
        self.proj, self.out, self.repeat = nn.Linear(32, 16), nn.Linear(16, 5), repeat

    @staticmethod
    def _rotate(x: Tensor) -> Tensor:
        n, d = x.shape[-2:]
        angle = torch.arange(n, device=x.device)[:, None] / 100 ** (torch.arange(0, d, 2, device=x.device) / d)
        cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, n, _ = x.shape
        q = self._rotate(self.q(x).view(b, n, 8, 4).transpose(1, 2))
        k = self._rotate(self.k(x).view(b, n, 4, 4).transpose(1, 2))
        v = self.v(x).view(b, n, 4, 4).transpose(1, 2)
        if self.repeat:
            k, v = (t[:, :, None].expand(b, 4, 2, n, 4).reshape(b, 8, n, 4) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=not self.repeat)
        return self.out(x + self.proj(y.transpose(1, 2).reshape(b, n, 32)))


def group_norm() -> nn.Module:
    return Head(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 6, 3), nn.GroupNorm(1, 6)), 6
    )


def depthwise() -> nn.Module:
    return Head(nn.Sequential(conv(3, 8), conv(8, 8, groups=8), conv(8, 16, groups=8), conv(16, 6)), 6)


def grouped() -> nn.Module:
    return Head(nn.Sequential(conv(3, 12), conv(12, 12, groups=3), conv(12, 6)), 6)


def transposed_grouped() -> nn.Module:
    return Head(nn.Sequential(conv(3, 8), nn.ConvTranspose2d(8, 12, 2, 2, groups=4), nn.ReLU(), conv(12, 6)), 6)


IMAGE, TOKENS = (2, 3, 12, 12), (2, 7, 5)

# name -> (network, input shape, groups that can be pruned at least)
NETWORKS = {
    "residual": (lambda: Head(Residual(), 8), IMAGE, 2),
    "concat": (lambda: Head(Concat(), 8), IMAGE, 3),
    "option_a": (lambda: Head(OptionA(), 16), IMAGE, 2),
    "squeeze_excite": (lambda: Head(SqueezeExcite(), 6), IMAGE, 3),
    "gated": (lambda: Head(Gated(), 6), IMAGE, 2),
    "maxout": (lambda: Head(MaxOut(), 6), IMAGE, 2),
    "shuffle": (lambda: Head(Shuffle(), 8), IMAGE, 2),
    "branches": (lambda: Head(Branches(), 6), IMAGE, 3),
    "flattened": (Flattened, IMAGE, 2),
    "sub_pixel": (lambda: SubPixel(), IMAGE, 1),
    "unet": (UNet, IMAGE, 4),
    "shared": (lambda: Head(Shared(), 6), IMAGE, 2),
    "group_norm": (group_norm, IMAGE, 2),
    "depthwise": (depthwise, IMAGE, 3),
    "grouped": (grouped, IMAGE, 3),
    "transposed_grouped": (transposed_grouped, IMAGE, 3),
    "weight_standardised": (lambda: Head(WeightStandardised(), 6), IMAGE, 2),
    "structured": (Structured, IMAGE, 1),
    "attention": (Attention, TOKENS, 4),
    "attention_separate": (lambda: Attention(fused_qkv=False), TOKENS, 4),
    "attention_spelled_out": (lambda: Attention(kernel=False), TOKENS, 4),
    "attention_with_norm": (lambda: Attention(norm=True), TOKENS, 4),
    "einsum": (Einsum, TOKENS, 3),
    "lstm": (lambda: Recurrent(nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True), 12), TOKENS, 2),
    "gru": (lambda: Recurrent(nn.GRU(8, 6), 6), TOKENS, 2),
    "rnn": (lambda: Recurrent(nn.RNN(8, 6, bias=False, batch_first=True), 6), TOKENS, 2),
    "torch_attention": (Library, TOKENS, 5),
    "grouped_query": (lambda: GroupedQuery(repeat=False), TOKENS, 3),
    "grouped_query_repeated": (lambda: GroupedQuery(repeat=True), TOKENS, 3),
    "two_views": (TwoViews, TOKENS, 3),
}
