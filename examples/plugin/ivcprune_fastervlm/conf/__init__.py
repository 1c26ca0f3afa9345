"""Configuration groups that ivcprune finds through the entry point in pyproject.toml."""
