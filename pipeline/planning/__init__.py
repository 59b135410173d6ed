"""Decides what each step does and why: the graph, references, fingerprints, the steps' projects."""
