"""The front door: from what was typed to an exit code.

    application.py   one call for main.py: compose, run it, say what was refused, end the process
    ahead.py         begin with the imports where the request looks right at a glance
    composing.py     config.yaml and the overrides, by Hydra
    watching.py      --watch: run again whenever something that counts changes
    arguments.py     what was typed in Hydra's own grammar, and the command that goes on after a failure

Imports session.py and below; nothing imports this wing but main.py.
"""
