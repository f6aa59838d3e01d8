"""Prune: what to remove (plans), what it saves (cost), and removing it (surgery).

plan.py     a plan as names and numbers, with the ledger of requested and granted ratios
order.py    in which order chunks of units should go
solve.py    plans for a target, in that order, above a floor
damage.py   what cutting a group costs, from sensitivities and importance
exchange.py trades between groups that improve a plan at the same cost
presets.py  ratios by a rule of one strength
cost.py     parameters and multiply-accumulates of any plan, by arithmetic
latency.py  milliseconds of any plan, by arithmetic on what was measured
predict.py  accuracy of any plan, from what cutting each group alone has cost
quantity.py what a target is about: a share, or milliseconds
living.py   sizes of a network on paper, kept up while it shrinks and grows
estimate.py a number with its interval
index.py    which positions of every tensor live on under a plan
surgery.py  a plan and a comb -> a smaller module (slicing.py copies what lives)
"""

from cpd._verb import make_callable

make_callable(__name__, "cpd.prune.surgery", "prune")
