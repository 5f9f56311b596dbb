"""The prior: one embedding of what the target will look like, from a source picture and a pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pgpis.batch import ImageSpec, ImageSpecs
from pgpis.errors import PgpisError, nearest
from pgpis.models.encoders import embedding_width, encode_pictures
from pgpis.models.factory import ModelSpec, build_vision_encoder, vision_encoder_config
from pgpis.models.foreign import building
from pgpis.models.loading import init_keys, load_diffusers


class Combiner(nn.Module):
    """Fuse a source and a pose embedding: a learned mixture of the two plus a joint residual.

    Args:
        embedding_dim: Width D of the embeddings.
        projection_dim: Width of each projected embedding.
        hidden_dim: Width of the two joint hidden layers.
        dropout: Probability of the dropout after each of the four hidden ReLUs.

    Source: FPDM, section "Image-Pose Fusion Model"; Baldrati et al. 2023.
    """

    def __init__(
        self, embedding_dim: int, projection_dim: int = 768, hidden_dim: int = 768, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.pose_projection = nn.Linear(embedding_dim, projection_dim)
        self.source_projection = nn.Linear(embedding_dim, projection_dim)
        self.hidden_layer = nn.Linear(2 * projection_dim, hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, embedding_dim)
        self.gate = nn.Sequential(
            nn.Linear(2 * projection_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, 1),
            nn.Sigmoid(),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """Fuse unnormalised embeddings ``(B, D)`` into ``(B, D)``, L2-normalised."""
        hidden = [self.pose_projection(pose), self.source_projection(source)]
        joint = torch.cat([self.dropout(F.relu(value)) for value in hidden], dim=-1)  # (B, 2 * projection_dim)
        share = self.gate(joint)  # (B, 1)
        residual = self.output_layer(self.dropout(F.relu(self.hidden_layer(joint))))
        return F.normalize(residual + share * pose + (1 - share) * source, dim=-1)


@dataclass(frozen=True)
class TripletEmbeddings:
    """Embeddings of a training triplet, each ``(B, D)``."""

    source: torch.Tensor
    """Source picture, unnormalised."""
    target: torch.Tensor
    """Target picture, unnormalised."""
    fused: torch.Tensor
    """Source and pose fused, L2-normalised."""


class FusionEmbedder(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Image-Pose Fusion: one shared encoder for source, pose and target, and a :class:`Combiner`.

    Args:
        encoder_config: Configuration of the encoder, see ``build_vision_encoder``; weights are random.
            :meth:`from_encoder` takes pretrained ones.
        combiner: Fuse source and pose. False gives the source's own embedding, normalised (ablations A1 and B4).
        projection_dim: See :class:`Combiner`.
        hidden_dim: See :class:`Combiner`.
        dropout: See :class:`Combiner`.
        image_size: Side of the encoder's square input in pixels; None takes the encoder's own.
        fit: How training brings source and target to that square: ``crop`` as officially, or ``squash`` as stage 2
            does, which keeps head and feet of an upright picture.

    Source: FPDM, section "Image-Pose Fusion Model".
    Deviation: The official B4 feeds the unnormalised CLIP embedding of the source; here it is normalised, so that the
        same projection sees embeddings of one length whatever the prior.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        encoder_config: dict[str, Any],
        *,
        combiner: bool = True,
        projection_dim: int = 768,
        hidden_dim: int = 768,
        dropout: float = 0.5,
        image_size: int | None = None,
        fit: Literal["crop", "squash"] = "crop",
    ) -> None:
        super().__init__()
        self.encoder = build_vision_encoder(dict(encoder_config))
        self.embedding_dim = embedding_width(self.encoder)
        self.fusion_head = Combiner(self.embedding_dim, projection_dim, hidden_dim, dropout) if combiner else None

    @classmethod
    def from_encoder(cls, encoder: ModelSpec, **options: Any) -> FusionEmbedder:
        """Build a prior around an encoder given by hub id, folder or configuration; other arguments are the class's."""
        built = build_vision_encoder(encoder)
        embedder: FusionEmbedder = cls(encoder_config=vision_encoder_config(built), **options)
        embedder.encoder = built
        return embedder

    @property
    def input_size(self) -> int:
        """Side of the square pictures that the encoder takes, in pixels."""
        return int(self.config.image_size or self.encoder.config.image_size)

    def input_specs(self) -> ImageSpecs:
        """Return the pictures that training this prior needs.

        Source: Official stage 1 runs CLIP's processor (short edge, centre crop) on source and target, and squashes the
            pose to a square first.
        """
        size, fit = self.input_size, self.config.fit
        specs = {
            "prior_source": ImageSpec("source", size, size, fit=fit),
            "prior_target": ImageSpec("target", size, size, fit=fit),
        }
        if self.fusion_head is not None:
            specs["prior_pose"] = ImageSpec("pose", size, size)
        return specs

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Embed pictures, RGB in [-1, 1] ``(B, 3, image_size, image_size)``, to ``(B, D)``, unnormalised."""
        return encode_pictures(self.encoder, images)

    def fuse(self, source: torch.Tensor, pose: torch.Tensor | None) -> torch.Tensor:
        """Fuse unnormalised embeddings ``(B, D)``; ``pose`` is not looked at without a combiner."""
        if self.fusion_head is None:
            return F.normalize(source, dim=-1)
        if pose is None:
            raise PgpisError("the prior fuses source and pose, but no pose was given")
        return self.fusion_head(source, pose)

    def forward(self, source: torch.Tensor, pose: torch.Tensor | None = None) -> torch.Tensor:
        """Return the fusion embedding of a source and a drawn pose, L2-normalised ``(B, D)``.

        Both are RGB in [-1, 1], ``(B, 3, image_size, image_size)``; the pose may be None without a combiner.
        """
        if self.fusion_head is None or pose is None:
            return self.fuse(self.embed(source), None)
        source_embedding, pose_embedding = self.embed(torch.cat([source, pose])).chunk(2)
        return self.fuse(source_embedding, pose_embedding)

    def embed_triplet(self, source: torch.Tensor, pose: torch.Tensor | None, target: torch.Tensor) -> TripletEmbeddings:
        """Embed source, pose and target in one pass of the encoder; pictures as in :meth:`forward`."""
        poses = [] if self.fusion_head is None or pose is None else [pose]
        embeddings = self.embed(torch.cat([source, *poses, target])).chunk(2 + len(poses))
        return TripletEmbeddings(
            embeddings[0], embeddings[-1], self.fuse(embeddings[0], embeddings[1] if poses else None)
        )


def build_fusion_embedder(spec: ModelSpec) -> FusionEmbedder:
    """Build the prior.

    Args:
        spec: Folder written by ``pgpis fit --config fusion.yaml`` or hub id; or the arguments of
            :meth:`FusionEmbedder.from_encoder` (``encoder``, ``combiner``, ...), which gives an untrained combiner.

    Raises:
        PgpisError: Not found, or an argument that does not exist.
    """
    if isinstance(spec, str):
        return load_fusion_embedder(spec)
    valid = ["encoder", *(name for name in init_keys(FusionEmbedder) if name != "encoder_config")]
    for key in spec:
        if key not in valid:
            raise PgpisError(f"fusion_embedder: no such key '{key}'{nearest(key, valid)}")
    if "encoder" not in spec:
        raise PgpisError("fusion_embedder: 'encoder' is missing: a hub id, a folder or a configuration")
    with building("fusion_embedder: its configuration"):
        return FusionEmbedder.from_encoder(**spec)


def load_fusion_embedder(folder: str) -> FusionEmbedder:
    """Load a prior from a folder or hub id, strictly.

    Raises:
        PgpisError: Not found, or weights that do not fit exactly.
    """
    try:
        return load_diffusers(FusionEmbedder, "fusion_embedder", folder)
    except PgpisError as error:
        hint = "train it with 'pgpis fit --config fusion.yaml', or convert the official one with 'pgpis convert fpdm'"
        raise PgpisError(error.message, hint=hint) from error
