"""Prune: what to remove (plans), what it saves (cost), and removing it (surgery).

plan.py     a plan as names and numbers, with the ledger of requested and granted ratios
order.py    in which order chunks of units should go
solve.py    plans for a target, in that order
cost.py     parameters and multiply-accumulates of any plan, by arithmetic
index.py    which positions of every tensor live on under a plan
surgery.py  a plan and a comb -> a smaller module
"""

from cpd._verb import make_callable

make_callable(__name__, "cpd.prune.surgery", "prune")
