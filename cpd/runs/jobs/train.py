"""Train the dense model, by the loop that also distils: bundle/model.safetensors and result.json."""

from __future__ import annotations

from cpd.files import write_json
from cpd.runs.context import RunContext
from cpd.runs.subject import begin_step, load_data, load_subject, train_settings


def run(context: RunContext) -> None:
    """Options: the fields of cpd.distill.settings.TrainSettings; batches ([1, 32]) of the latency at the end."""
    from cpd.distill.trainer import train
    from cpd.measure import measure
    from cpd.models.bundle import save_bundle

    spec = context.spec
    settings = train_settings(spec)
    model, inputs = load_subject(spec, seed=spec.seed)
    task = load_data(context, inputs, context.watch_stop)
    trained = train(model, inputs, task, settings, context, begin=begin_step(spec))
    context.told_to_stop = not trained.finished  # whichever process of the run was told
    if not (trained.finished and context.leads):
        return
    file = save_bundle(context.run_dir / "bundle", trained.module, spec.model, spec.settings, None)
    context.check_stop()
    batches = tuple(int(batch) for batch in spec.options.get("batches", (1, 32)))
    found = measure(trained.module, inputs, task, device=settings.device, batches=batches, progress=context.watch_stop)
    row = {
        "trained": found.to_dict(),
        "plan": None,
        "seconds": trained.seconds,
        "steps": trained.total,
        "bundle": str(file.relative_to(context.run_dir)),
        "settings": settings.to_dict(),
    }
    write_json(context.run_dir / "result.json", row)
