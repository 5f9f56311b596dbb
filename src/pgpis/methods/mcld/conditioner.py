"""MCLD: fills the denoiser's ports from a source picture, a texture, a face embedding and an IUV map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import IPAdapterPlusImageProjection

from pgpis.batch import ImageSpec, InputSpecs, PairBatch, VectorSpec
from pgpis.denoiser.conditions import Ports, Stage
from pgpis.errors import PgpisError, check_range, nearest
from pgpis.methods.mcld.correspondence import Correspondence
from pgpis.methods.mcld.rendering import RenderedEncoder, render
from pgpis.methods.mcld.resampler import renamed_resampler
from pgpis.models.autoencoder import Autoencoder, mean_latents
from pgpis.models.pose import PoseEncoder
from pgpis.models.sources import encode_sources, present_sources, side_by_side
from pgpis.pictures.iuv import PART_CHANNEL
from pgpis.pictures.surface import SURFACE_SIZE

__all__ = ["MCLDConditioner", "ModelMixin"]  # the base class, for diffusers' loader

CHOICES = {"aggregation": ("stage", "all", "ip"), "iuv_filter": ("nearest", "bicubic")}
FACE_WEIGHT = 0.5
"""Weight of the attention to the face."""


class MCLDConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """The trained projections of MCLD, and which stage of the denoiser reads which token.

    Down blocks read the source's token, the mid block source and texture, up blocks the texture; all read the face.

    ``token_dim`` is the width of CLIP's image embedding and of the denoiser's cross-attention, ``face_dim`` that of a
    face embedding, and ``pose_channels`` what the denoiser's first convolution has. ``MCLDPorts`` documents the others.

    Source: MCLD, "Multi-Focal Condition Aggregation"; table of stages as in the official code.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        *,
        token_dim: int = 768,
        face_dim: int = 512,
        resampler_dim: int = 1280,
        resampler_depth: int = 4,
        resampler_heads: int = 20,
        resampler_head_dim: int = 64,
        face_tokens: int = 16,
        pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256),
        pose_channels: int = 320,
        use_face: bool = True,
        use_texture: bool = True,
        aggregation: str = "stage",
        iuv_filter: str = "nearest",
        part_scale: int = 1,
        correspondence: float = 0.0,
        rendered_texture: bool = False,
        backdrop: bool = False,
        latent_channels: int = 4,
    ) -> None:
        super().__init__()
        for value, (name, choices) in zip((aggregation, iuv_filter), CHOICES.items(), strict=True):
            if value not in choices:
                near = nearest(value, choices)
                raise PgpisError(f"{name}: no such choice '{value}'{near}; one of {', '.join(choices)}")
        check_range("correspondence", correspondence, 0)
        check_range("part_scale", part_scale, 1, whole=True)
        if (rendered_texture and not use_texture) or (backdrop and not rendered_texture):
            raise PgpisError("rendered_texture needs use_texture, and backdrop needs rendered_texture")
        self.rendered_encoder = RenderedEncoder(latent_channels, pose_channels) if rendered_texture else None
        self.face_resampler = None
        if use_face:
            self.face_resampler = IPAdapterPlusImageProjection(
                embed_dims=face_dim,
                output_dims=token_dim,
                hidden_dims=resampler_dim,
                depth=resampler_depth,
                dim_head=resampler_head_dim,
                heads=resampler_heads,
                num_queries=face_tokens,
            )
        self.pose_encoder = PoseEncoder(pose_channels, tuple(pose_hidden_channels))

    def _fix_state_dict_keys_on_load(self, state_dict: dict[str, torch.Tensor]) -> None:
        super()._fix_state_dict_keys_on_load(state_dict)
        renamed = renamed_resampler(state_dict, "face_resampler.")  # folders of earlier versions
        state_dict.clear()
        state_dict.update(renamed)

    def forward(
        self,
        source: torch.Tensor,
        texture: torch.Tensor | None,
        face: torch.Tensor | None,
        iuv: torch.Tensor,
        rendered: tuple[torch.Tensor, torch.Tensor] | None = None,
        present: torch.Tensor | None = None,
    ) -> Ports:
        """Fill the ports, but for the ReferenceNet's.

        Args:
            source: CLIP's embeddings of the sources, ``(B, token_dim)``, or of several a pair ``(B, K, token_dim)``.
            texture: Those of their texture maps; None for models without texture.
            face: Raw face embeddings, ``(B, face_dim)`` or ``(B, F, face_dim)``, zeros where there is no face; None for
                models without face.
            iuv: DensePose map as its PNG is read, channels V, U, part, in [-1, 1], ``(B, 3, H, W)``.
            rendered: What :meth:`rendered_latents` returns; None for models without it.
            present: Which of several sources there are, bool ``(B, K)``; None: all.
        """
        dtype = next(self.parameters()).dtype
        bias = None
        if self.config.use_texture and self.config.correspondence:
            factor = 2 ** (len(self.config.pose_hidden_channels) - 1)
            size = (iuv.shape[2] // factor, iuv.shape[3] // factor)
            bias = Correspondence(iuv, size, self.config.correspondence).bias
        if self.config.part_scale != 1:
            # neighbouring parts are 1/255 apart officially; a net that starts from nothing tells them apart late
            iuv = iuv.clone()
            iuv[:, PART_CHANNEL] = (iuv[:, PART_CHANNEL] / 2 + 0.5) * self.config.part_scale * 2 - 1
        source_token = (source[:, None] if source.ndim == 2 else source).to(dtype)  # (B, K, D)
        texture_token = None if texture is None else texture[:, None].to(dtype)
        tokens, extra = self._aggregate(source_token, texture_token, self._face_tokens(source_token, face), present)
        features = self.pose_encoder(iuv.to(dtype))
        if self.rendered_encoder is not None and rendered is not None:
            latents, marks = rendered
            features = features + self.rendered_encoder(latents.to(dtype), marks)
        return Ports(tokens, features, None, extra, FACE_WEIGHT, reference_bias=bias)

    def render(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Draw the targets from their textures, see :func:`render`; None for models that do without."""
        if self.rendered_encoder is None:
            return None
        return render(batch["surface"], batch["pose_image"], batch.get("backdrop_image"))

    def rendered_latents(self, batch: PairBatch, vae: Autoencoder) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return scaled latents ``(P, C, h, w)`` and marks of what :meth:`render` draws, or None as it does."""
        rendered = self.render(batch)
        if rendered is None:
            return None
        picture, marks = rendered
        return mean_latents(vae, picture) * vae.config.scaling_factor, marks

    def _aggregate(
        self, source: torch.Tensor, texture: torch.Tensor | None, face: torch.Tensor, present: torch.Tensor | None
    ) -> tuple[dict[Stage, torch.Tensor], torch.Tensor]:
        """Say which stage reads what, and what the second attention of all reads."""
        alone = side_by_side(source, present)
        if texture is None:
            return {"down": alone, "mid": alone, "up": alone}, face
        # joined before they are repeated, so that the texture keeps its weight beside the sources
        has_both = None if present is None else F.pad(present, (0, 1), value=True)
        both = side_by_side(torch.cat([source, texture], dim=1), has_both)
        if self.config.aggregation == "all":
            return {"down": both, "mid": both, "up": both}, face
        if self.config.aggregation == "ip":
            if present is not None and present.shape[1] > 1:
                raise PgpisError("aggregation 'ip' takes one source a pair", hint="--sources-by picture")
            return {"down": source, "mid": source, "up": source}, torch.cat([texture, face], dim=1)
        return {"down": alone, "mid": both, "up": texture}, face

    def _face_tokens(self, source: torch.Tensor, face: torch.Tensor | None) -> torch.Tensor:
        if self.face_resampler is None or face is None:
            return source.new_zeros(len(source), self.config.face_tokens, self.config.token_dim)
        faces = face if face.ndim == 3 else face[:, None]  # (B, F, face_dim)
        tokens: torch.Tensor = self.face_resampler(faces.flatten(0, 1)[:, None].to(source))
        return tokens.view(len(faces), -1, tokens.shape[-1])  # (B, F * M, D)

    def faces(self, batch: PairBatch) -> torch.Tensor | None:
        """Return the faces of all sources that show one, of each pair equally many: zeros where none does.

        It is ``(B, F, face_dim)``, or None for models without face.
        """
        if not self.config.use_face:
            return None
        faces = encode_sources(batch, "face", lambda faces, _: faces)
        has_face = present_sources(batch, len(faces))
        if has_face is not None:
            has_face = has_face & faces.any(dim=2)
            has_face[:, 0] |= ~has_face.any(dim=1)
        return side_by_side(faces, has_face)

    def input_specs(self, height: int, width: int, clip_size: int) -> InputSpecs:
        """Return what MCLD reads of a pair, by the size of the result and the side of CLIP's input in pixels.

        Source: Official loader: everything squashed to one size, CLIP's pictures made from the squashed ones.
        """
        specs: dict[str, ImageSpec | VectorSpec] = {
            "source_image": ImageSpec("source", height, width),
            "source_clip": ImageSpec("source", clip_size, clip_size, base="source_image"),
            "pose_image": ImageSpec("iuv", height, width, filter=self.config.iuv_filter),
            "target_image": ImageSpec("target", height, width),
        }
        if self.config.use_texture:
            specs["texture_image"] = ImageSpec("texture", height, width)
            specs["texture_clip"] = ImageSpec("texture", clip_size, clip_size, base="texture_image")
        if self.config.rendered_texture:
            specs["surface"] = ImageSpec("surface", *SURFACE_SIZE, filter="nearest")
        if self.config.backdrop:
            specs["backdrop_image"] = ImageSpec("backdrop", height, width)
        if self.config.use_face:
            specs["face"] = VectorSpec("face", self.config.face_dim)
        return specs
