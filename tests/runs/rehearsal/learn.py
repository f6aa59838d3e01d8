"""A run that learns with torch, for tests: its end depends on every random number and every moment of the optimizer."""

from __future__ import annotations

import time

from cpd.runs.context import RunContext


def run(context: RunContext) -> None:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(context.spec.seed)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    step = 0
    if (state := context.load()) is not None:
        step = state["step"]
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
    total = context.spec.options["steps"]
    while step < total:
        x = torch.randn(32, 8)
        loss = (net(x).squeeze(1) - x[:, 0] * x[:, 1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        context.log(step, {"train/loss": loss.item()})
        context.progress(step, total)
        stop = context.should_stop()
        if stop or step % 10 == 0:
            rng = torch.get_rng_state()
            context.save({"step": step, "net": net.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng}, step)
        if stop:
            return
        time.sleep(context.spec.options["sleep_s"])
    from safetensors.torch import save_file

    save_file(net.state_dict(), context.run_dir / "net.safetensors")
