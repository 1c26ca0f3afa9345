"""vLLM: images pruned at the input of an unmodified vLLM, by any policy that can act there."""
