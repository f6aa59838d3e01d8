"""Distill: train a dense model, or prune one while it is distilled from itself.

settings.py    how to train, as names and numbers (no torch)
together.py    what of them goes together, and with which device (no torch)
recorder.py    what the loop tells the world, and what it asks
schedule.py    when to cut, and what (no torch)
reference.py   the released code's schedule, as a baseline (no torch)
student.py     the network that shrinks, with its optimizer's and its average's state
optimizer.py   timm's optimizers and schedules, in steps
mixed.py       images and labels mixed in pairs, labels smoothed
weights.py     what each loss counts, over the run
losses/        one a file, by name
features.py    the activations that the feature loss compares
teacher.py     a teacher of another architecture
cache.py       its answers to images that never change
feed.py        what the run is shown, step by step
engine.py      device, precision, processes
watch.py       accuracy, latency and size during a run
evaluations.py what is found out on the held-out images, and told
heard.py       what the student answers meanwhile
meter.py       means of losses between two log lines
state.py       everything a resumed run needs
trainer.py     the loop
"""
