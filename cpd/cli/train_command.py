"""Train a dense model, by the loop that also distils. The same command goes on where an interrupted one stopped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cpd.cli import options, training
from cpd.measure.metrics import words

HELP = "a dense baseline, by the loop that distils"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_data(parser, required=True)
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the run: checkpoints, log, the trained weights"
    )
    options.add_device(parser)
    training.add_settings(parser, pruning=False)


def run(arguments: argparse.Namespace) -> int:
    row = training.do("train", arguments, {"plan": None, "target": None})
    if row.state != "finished":
        return 1
    result = Path(arguments.out) / "result.json"
    if result.exists():
        trained = json.loads(result.read_text()).get("trained") or {}
        if trained.get("quality") is not None:
            name = words(trained["metric"]).short
            print(f"{name} {trained['quality']:.2%} on {trained['images']} held-out images.")
    print(f"The trained model: {Path(arguments.out) / 'bundle' / 'model.safetensors'}")
    return 0
