"""Imported by each Python that a step starts: takes down what it reads, then does what another sitecustomize would."""

import contextlib
import importlib.machinery
import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

with contextlib.suppress(Exception):  # never the reason why a step cannot run
    runpy.run_path(os.path.join(os.path.dirname(HERE), "read_tracer.py"))["start"]()

others = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
if (spec := importlib.machinery.PathFinder.find_spec("sitecustomize", others)) and spec.origin:
    runpy.run_path(spec.origin, run_name="sitecustomize")
