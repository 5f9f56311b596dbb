"""One folder a published method, and nothing of a method anywhere else."""
