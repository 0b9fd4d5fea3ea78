"""The conformance suite: properties that a kernel is held to, each judged by truth and budget, collected in a report.

`refattn.check` and `refattn check` run it; `refattn.conformance` gives each of its properties to pytest as a test.

properties/      what a kernel is held to, one family a file
property.py      how a property is declared
search.py        how its cases are made, from the seeds and strategies of drawing.py
judging.py       one case: call the kernel, and compare() with truth and budget
findings.py      the evidence, from the comparison to the report
checking.py      a run: choosing.py, examining.py; replaying.py for one case of it
"""
