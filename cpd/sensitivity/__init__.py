"""Sensitivity: every group really cut, at widths down a ladder, and what that does to accuracy and latency.

table.py      the result as numbers (no torch)
staircase.py  which steps in width buy time on this device (no torch)
settings.py   widths, images, when to stop (no torch)
ladder.py     the widths of a group, as plans (no torch)
interval.py   intervals of shares, medians and differences (no torch)
scan.py       the verb: one group after another
evaluate.py   one cut network's metric, on images that wait where it leaves the dense one:
                split.py finds the place, walk.py runs operators, frontier.py keeps the images there
judge.py      the metric from as few images as say it well enough
sample.py     which images
timing.py     latency of all widths of a group, by turns with the dense network; part.py finds what there is to time
"""
