"""Speed and memory beside other people's pruning, on the same weights and inputs, in one run."""
