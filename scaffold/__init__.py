"""Lay down what is new: a step of the pipeline, or a repository of one's own."""
