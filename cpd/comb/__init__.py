"""Comb: find every set of channels, heads or hidden units that must be removed together.

trace.py      module -> traced graph of ATen operators (torch.export)
depth.py      stochastic depth, which a trace in eval mode would lose
cache.py      what was traced (trace_file.py) and combed (comb_file.py) before, on disk by a digest of the architecture (sealed.py)
labels.py     the atoms that flow along axes, and the union-find that merges them
boxes.py      reshapes: an axis split in parts must stay a dense box whatever is removed
flow.py       what a rule sees: labels of values, arguments by name, how labels meet
rules/        how each operator family moves and merges labels
propagate.py  labels over a whole graph
units.py      labels -> what dies together
rows.py       rows of a split that drop positions of their own: blocks and ties
extract.py    units -> groups of exchangeable units
explain.py    why a group belongs together, in words
tabulate.py   every size of the network as a count of living atoms
axes.py       every axis of every value in those atoms: what a cut reads
comb.py       the verb: all of the above, and the result that surgery reads
certify.py    two checks that a group is right, run on the model itself (silence.py)
group.py, record.py   the result as names and numbers, without torch
"""

from cpd._verb import make_callable

make_callable(__name__, "cpd.comb.comb", "comb")
