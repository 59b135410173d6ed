"""What people and programs are told. Listeners of the runner's events, and what is made at the end.

    console.py     the terminal while it runs: lines, or a live table
    tables.py      words and columns: the plan, the summary, what to do after a failure
    manifest.py    manifest.json, for programs
    html_page.py   report.html
    page.py        the look of all pages, from kit/
    sweep.py       the runs of one --multirun compared

Imports execution/ and below.
"""
