"""Servers: pruning inside engines that others run."""
