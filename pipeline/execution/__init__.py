"""Runs steps: the loop, and each step in a process of its own."""
