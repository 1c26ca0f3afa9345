"""Runs that are killed and disturbed on purpose: `python -m ivcprune.reliability`."""
