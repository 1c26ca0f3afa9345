"""How much a sweep gains by computing once what its policies have in common."""
