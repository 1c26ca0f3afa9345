"""Evaluation harnesses: this package as a model of theirs."""
