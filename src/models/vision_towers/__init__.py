"""Kinds of vision towers: where their layers are, and which patches are which visual tokens."""
