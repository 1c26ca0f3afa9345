"""InternVL 2.5, 3 and 3.5."""
