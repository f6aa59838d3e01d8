"""The story of a finished run for people who never heard of pruning, and for those who have. No torch.

story.py    five steps, each a headline, a few numbers with their uncertainty, and one chart
appendix.py method, settings, machine, and every claim with how it was measured
charts.py   the charts, as plain plotly figures
words.py    numbers as a reader takes them in
colours.py  colours that carry a meaning, the same everywhere
page.py     all of it as one HTML file that opens without a network and prints on A4
"""
