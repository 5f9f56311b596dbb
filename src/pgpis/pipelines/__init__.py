"""What the pipelines of all methods share: the call, the sampling loop, a user's inputs, bundles."""

from pgpis.aliases import earlier_names

__getattr__ = earlier_names(__name__)
