"""Comb: find every set of channels, heads or hidden units that must be removed together.

trace.py      module -> traced graph of ATen operators (torch.export)
labels.py     the atoms that flow along axes, and the union-find that merges them
rules/        how each operator family moves and merges labels
propagate.py  labels over a whole graph
extract.py    labels -> groups of exchangeable units
comb.py       the verb: all of the above, and the result that surgery reads
certify.py    two checks that a group is right, run on the model itself
group.py, record.py   the result as names and numbers, without torch
"""

from cpd._verb import make_callable

make_callable(__name__, "cpd.comb.comb", "comb")
