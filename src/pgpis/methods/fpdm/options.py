"""Options of FPDM's task, each documented at its field."""

from __future__ import annotations

from dataclasses import dataclass

from pgpis.errors import check_range
from pgpis.models.encoders import PositionInterpolation
from pgpis.pipelines.limits import MOST_PIXELS
from pgpis.tasks.options import Dropping, Sampling, TrainingStep, check_sizes


@dataclass(frozen=True)
class FPDMSampling(Sampling):
    """How pictures are drawn, in ``test``, ``predict`` and validation grids."""

    width: int = 352
    guidance_scale: float = 2.0
    pose_guidance_scale: float | None = None
    """Guidance on source and pose where it differs from that on all conditions; costs a third branch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("sampling.pose_guidance_scale", self.pose_guidance_scale, 0, optional=True)

    @property
    def scales(self) -> dict[str, float | None]:
        """Weights of guidance, by the pipeline's names for them."""
        return {**super().scales, "pose_guidance_scale": self.pose_guidance_scale}


@dataclass(frozen=True)
class FPDMDropping(Dropping):
    """Conditions that training leaves out, so that guidance has something to compare with."""

    source: float = 0.2
    """Probability of dropping the source tokens."""
    pose: float = 0.2
    """Probability of dropping the pose features."""
    fusion: float = 0.2
    """Probability of dropping the fusion embedding."""


@dataclass(frozen=True)
class FPDMStep(TrainingStep):
    """What a training step computes, and how."""

    noise_offset: float = 0.1


@dataclass(frozen=True)
class FPDMPorts:
    """What is between the frozen encoders and the denoiser; a pipeline that is loaded has its own."""

    source_size: int | None = None
    """Side in pixels of the square source that the encoder sees; null is the pipeline's, or 512."""
    pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256)
    """Channels of the pose encoder's stages; each after the first halves the size."""
    token_hidden_dim: int = 768
    """Width inside the token projection and the fusion projection."""
    dropout: float = 0.2
    """Dropout inside the projections."""
    position_interpolation: PositionInterpolation = "size"
    """How DINOv2 interpolates positions: ``scale_factor`` as the official weights need."""

    def __post_init__(self) -> None:
        check_sizes(pose_hidden_channels=self.pose_hidden_channels, token_hidden_dim=self.token_hidden_dim)
        check_range("conditioner.dropout", self.dropout, 0, 0.99)  # 1 lets nothing through
        check_range("conditioner.source_size", self.source_size, 1, MOST_PIXELS, whole=True, optional=True)
