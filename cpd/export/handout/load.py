"""Opens this pruned network with torch and safetensors alone: `net = load()` gives it in eval mode; it trains, too."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent


def load(folder: str | Path = HERE, device: str = "cpu") -> torch.nn.Module:
    """The network of `folder` on `device`; the README beside it says what its inputs are."""
    folder = Path(folder)
    code = runpy.run_path(str(folder / "network.py"))
    net: torch.nn.Module = code["Network"]()
    tables = folder / "tables.safetensors"  # what the forward pass reads and no state_dict holds
    fixed = load_file(tables) if tables.exists() else {}
    for name, tensor in {**load_file(folder / "model.safetensors"), **fixed}.items():
        path, _, leaf = name.rpartition(".")
        owner = net
        for part in path.split(".") if path else []:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        if name in code["BUFFERS"] or name in fixed:
            owner.register_buffer(leaf, tensor, persistent=name not in fixed)
        else:
            owner.register_parameter(leaf, torch.nn.Parameter(tensor))
    return net.eval().to(device)
