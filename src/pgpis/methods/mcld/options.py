"""Options of MCLD's task, each documented at its field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pgpis.errors import check_range
from pgpis.tasks.options import Dropping, Sampling, TrainingStep, check_sizes


@dataclass(frozen=True)
class MCLDSampling(Sampling):
    """How pictures are drawn, in ``test``, ``predict`` and validation grids; officially square, all is squashed."""

    guidance_scale: float = 3.5


@dataclass(frozen=True)
class MCLDDropping(Dropping):
    """Conditions that training leaves out, so that guidance has something to compare with."""

    all: float = 0.1
    """Probability of zeroing both of CLIP's pictures and leaving the ReferenceNet out."""
    image: float = 0.1
    """Probability of zeroing CLIP's picture of the source."""


@dataclass(frozen=True)
class MCLDStep(TrainingStep):
    """What a training step computes, and how."""

    noise_offset: float = 0.05
    snr_gamma: float = 5.0
    """Bound of the min-SNR weight; a large one turns it off."""
    face_loss: bool = True
    """Count the squared error in the face region twice."""
    clip_noise: float = 0.05
    """Deviation of the noise on the source's CLIP embedding, in units of ``clip_std``."""
    clip_std: str | None = None
    """Standard deviation of CLIP's embedding per dimension: ``.npy`` file, or null to estimate it from the training
    sources before the first step."""
    freeze_reference_tail: bool = True
    """Leave the ReferenceNet's last block as it is, as officially; false where it starts from random weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("step.snr_gamma", self.snr_gamma, 0, above=True, hint="a large one, as 1e9, bounds no weight")
        check_range("step.clip_noise", self.clip_noise, 0)


@dataclass(frozen=True)
class MCLDPorts:
    """What is between the frozen encoders and the denoiser, see ``MCLDConditioner``; a pipeline has its own."""

    pose_encoder: str | None = None
    """ControlNet (hub id or folder) from whose encoder the pose encoder starts; null: random."""
    pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256)
    """Channels of the pose encoder's stages; each after the first halves the size."""
    resampler_dim: int = 1280
    """Width inside the face resampler."""
    resampler_depth: int = 4
    """Its layers."""
    resampler_heads: int = 20
    """Its heads."""
    resampler_head_dim: int = 64
    """Width of one."""
    face_tokens: int = 16
    """Tokens that it makes of a face."""
    use_face: bool = True
    """Ablation: false leaves the face out."""
    use_texture: bool = True
    """Ablation: false leaves the texture's token and the ReferenceNet out."""
    aggregation: Literal["stage", "all", "ip"] = "stage"
    """``stage`` as published; ``all``: every stage reads source and texture; ``ip``: plain IP-attention."""
    iuv_filter: Literal["nearest", "bicubic"] = "nearest"
    """How DensePose's map is resized: ``nearest`` keeps labels, ``bicubic`` mixes them as officially."""
    part_scale: int = 1
    """Factor on the map's part before the pose encoder; 1 as officially."""
    correspondence: float = 0.0
    """How strongly the attention to the ReferenceNet is drawn to what a cell of the target shows of the texture; 0 as
    officially, not at all."""
    rendered_texture: bool = False
    """The texture, seen through the target's map, as a further condition behind ``conv_in``; false as officially."""
    backdrop: bool = False
    """The backdrop of the source lies behind it; needs ``rendered_texture``."""

    def __post_init__(self) -> None:
        names = ("pose_hidden_channels", "resampler_dim", "resampler_depth", "resampler_heads", "resampler_head_dim")
        check_sizes(**{name: getattr(self, name) for name in (*names, "face_tokens")})
