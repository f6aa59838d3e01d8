"""Attribution: which parts of an image an answer rests on, in the dense model and in a pruned one, on one scale.

record.py   what was found, as numbers and arrays on disk (no torch)
methods.py  the methods by name and title (no torch until one is used)
layer.py    the last activation that still lies on a grid over the image, found in the traced graph, and a tap on it
scores.py   any vision model as one score for each class
maps.py     the methods themselves, by Captum
choose.py   which held-out images are worth a look: first those whose answer changed
explain.py  the verb: networks and images in, answers and heat maps out
"""
