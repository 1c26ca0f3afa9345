"""How a policy acts on a live model."""
