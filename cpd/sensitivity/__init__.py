"""Sensitivity: every group really cut, at widths down a ladder, and what that does to accuracy and latency.

table.py      the result as numbers (no torch)
staircase.py  which steps in width buy time on this device (no torch)
"""
