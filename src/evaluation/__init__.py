"""The main job: predict a benchmark under a policy, resumably, and score it."""
