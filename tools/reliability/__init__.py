"""Runs that are killed and disturbed on purpose: `make reliability`."""
