"""What `job=<name>` runs: one module each, named as its file in `conf/job/`."""
