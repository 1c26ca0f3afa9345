"""All that a run leaves on the disk: written and read here."""
