"""Layer, budget and method for a target, chosen by agreement with the unpruned model."""
