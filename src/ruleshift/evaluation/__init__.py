"""Evaluation: what a policy solves, how sure that number is, and how two policies compare."""
