"""Handing a pruned model over: files that open without this project, and the proof that each gives the same answers.

source.py       the network as Python that needs torch alone
handout/        files that are handed over as they stand: the loader
exchange.py     ONNX and torch.export's .pt2
forms.py        every handed-over form opened again, as modules that can be called and timed
parity.py       each form on real images beside the pruned model: outputs, accuracy, latency
card.py         the model card
rival.py        the plan as a Torch-Pruning script, where that library can express it
handover.py     all of it as one folder with a manifest
"""

from __future__ import annotations

FORMATS = {
    "loader": "Python and safetensors; needs torch alone",
    "onnx": "ONNX, any batch size",
    "pt2": "torch.export program, any batch size",
}
"""What a pruned model can be handed over as, beside its own file; in words."""
