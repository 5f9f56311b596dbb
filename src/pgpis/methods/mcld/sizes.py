"""What the shapes of MCLD's official weights cannot tell."""

IMAGE_ENCODER = "openai/clip-vit-large-patch14"
"""What MCLD's official code takes for picture and texture."""
HEADS = 8
"""Attention heads of Stable Diffusion 1.5."""
RESAMPLER_HEAD_DIM = 64
NORM_GROUPS = 32
"""Groups of the group norms of Stable Diffusion."""
