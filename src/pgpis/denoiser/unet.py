"""The denoiser: Stable Diffusion's UNet with ports for conditions that are computed once per picture."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from pgpis.denoiser.attention import ConditionedAttentionProcessor, InSlices, keys_values, refuse_unread
from pgpis.denoiser.conditions import STAGES, Conditions, LayerConditions, Ports
from pgpis.denoiser.fusing import fuse, keep_fused_out_of_weights, unfuse
from pgpis.errors import PgpisError
from pgpis.models.factory import ModelSpec
from pgpis.models.foreign import building
from pgpis.models.loading import check_keys, init_keys, load_diffusers, public_fields

# diffusers' loader looks for the base class in the module that model_index.json names
__all__ = ["ConditionedUNet", "ModelMixin", "PoseConvIn", "build_unet", "denoise"]

STOCK_SIGNATURE = inspect.signature(UNet2DConditionModel.__init__)
EXTRA_WEIGHTS = {"processor.to_k_ip.weight": "to_k.weight", "processor.to_v_ip.weight": "to_v.weight"}
"""Weights of the second attention, and those of the layer that a stock UNet starts them from."""


class PoseConvIn(nn.Conv2d):
    """First convolution of the denoiser: convolves the latents and adds the remaining channels to the result."""

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        """Process ``(B, in_channels [+ out_channels], h, w)`` into ``(B, out_channels, h, w)``."""
        features = super().forward(sample[:, : self.in_channels])
        added = sample.shape[1] - self.in_channels
        if added == 0:
            return features
        if added != self.out_channels:
            raise PgpisError(
                f"the denoiser got {sample.shape[1]} channels, expected {self.in_channels} of the latents alone "
                f"or with {self.out_channels} of the pose features"
            )
        return features + sample[:, self.in_channels :]


class ConditionedUNet(InSlices, UNet2DConditionModel):  # type: ignore[misc, unused-ignore]
    """``UNet2DConditionModel`` that receives :class:`Conditions`.

    Arguments, configuration and the names of the weights are those of ``UNet2DConditionModel``: Stable Diffusion's
    weights load unchanged. Pose features come in as extra channels of ``sample``, and are added after ``conv_in``. With
    ``class_embed_type="identity"``, ``class_labels`` is added to the time embedding as it is.

    Args:
        *args: Those of ``UNet2DConditionModel``.
        extra_tokens: Give each cross-attention layer a second attention, to further tokens; its weights are the
            layer's ``attn2.processor.to_k_ip`` and ``to_v_ip``. Loaded from a stock UNet, they start as copies of the
            layer's own, as IP-Adapter's do.
        **kwargs: Those of ``UNet2DConditionModel``.

    Source: FPDM, section "Fusion Embedding Conditioned Diffusion Model"; MCLD, figure 2.
    """

    @functools.wraps(UNet2DConditionModel.__init__)  # type: ignore[misc, unused-ignore]
    def __init__(self, *args: Any, extra_tokens: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_to_config(extra_tokens=extra_tokens)
        if self.config.cross_attention_norm is not None:
            # a normalised zero token is no longer zero, and rows without tokens could not be skipped
            raise PgpisError("unet: cross_attention_norm is not supported, expected null")
        stock: Any = self.conv_in
        self.conv_in: nn.Conv2d = PoseConvIn(
            stock.in_channels, stock.out_channels, kernel_size=stock.kernel_size, padding=stock.padding
        )
        self.conv_in.load_state_dict(stock.state_dict())
        self._processors = dict(self.attn_processors)
        for name, transformer in self._transformers():
            transformer.register_forward_pre_hook(functools.partial(_pass_own_conditions, name), with_kwargs=True)
            for place, (layer, attn) in enumerate(_attention_layers(transformer)):
                has_extra = extra_tokens and attn.is_cross_attention
                processor = ConditionedAttentionProcessor(place, attn if has_extra else None)
                self._processors[f"{name}.{layer}.processor"] = processor
        self.set_attn_processor(dict(self._processors))
        keep_fused_out_of_weights(self)

    __init__.__signature__ = STOCK_SIGNATURE.replace(  # type: ignore[attr-defined]
        parameters=[
            *STOCK_SIGNATURE.parameters.values(),
            inspect.Parameter("extra_tokens", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool"),
        ]
    )

    def _transformers(self) -> Iterator[tuple[str, Transformer2DModel]]:
        return ((name, module) for name, module in self.named_modules() if isinstance(module, Transformer2DModel))

    def set_default_attn_processor(self) -> None:
        """Put the processors back that the class was built with, with their weights."""
        for processor in self._processors.values():
            if isinstance(processor, nn.Module):
                processor.to(self.device, self.dtype)
        self.set_attn_processor(dict(self._processors))

    def fuse_qkv_projections(self) -> None:
        """Compute queries, keys and values by one product, for drawing; see :func:`pgpis.denoiser.fusing.fuse`."""
        fuse(self)

    def unfuse_qkv_projections(self) -> None:
        """Compute them one by one again."""
        unfuse(self)

    @property
    def supports_cache(self) -> bool:
        """Whether every layer still has the processor that reads :class:`Conditions`."""
        layers = (attn for _, transformer in self._transformers() for _, attn in _attention_layers(transformer))
        return all(isinstance(attn.processor, ConditionedAttentionProcessor) for attn in layers)

    @classmethod
    def from_config(cls, config: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Build as the base class does; configurations of the earlier ``MultiFocalUNet`` have extra tokens."""
        if isinstance(config, Mapping) and config.get("_class_name") == "MultiFocalUNet":
            config = {"extra_tokens": True, **config}
        return super().from_config(config, *args, **kwargs)

    def _fix_state_dict_keys_on_load(self, state_dict: dict[str, torch.Tensor]) -> None:
        super()._fix_state_dict_keys_on_load(state_dict)
        endings = tuple(EXTRA_WEIGHTS)
        if not self.config.extra_tokens or any(name.endswith(endings) for name in state_dict):
            return
        for name in self.state_dict():
            for ending in endings:
                own = name.removesuffix(ending) + EXTRA_WEIGHTS[ending]
                if name.endswith(ending) and own in state_dict:
                    state_dict[name] = state_dict[own].clone()

    @apply_forward_hook  # type: ignore[untyped-decorator, unused-ignore]
    def prepare(self, *branches: Ports, repeats: int = 1, cache: bool = True) -> Conditions:
        """Compute once what does not change over the denoising loop, the keys and values of all layers above all.

        Args:
            *branches: Ports of P pictures, for each branch of guidance in the order of the denoiser's rows. Branches
                without tokens come first; all others have the last one's tokens and reference.
            repeats: How often a branch's P pictures follow each other.
            cache: False leaves keys and values to be computed at each step, which takes less memory in training;
                tokens by stage, extra tokens, a reference and anchors need True, as that needs this class's own
                processors.

        Returns:
            Conditions for ``len(branches) * repeats * P`` rows.

        Raises:
            PgpisError: The reference lacks a layer, or attention cannot read what is there.
        """
        ports = branches[-1]
        without = sum(branch.tokens is None for branch in branches)
        if any(branch.tokens is None for branch in branches[without:]) or ports.tokens is None:
            raise PgpisError("branches without tokens must come first, and one must have some")
        pose_features = torch.cat([branch.pose_features for branch in branches for _ in range(repeats)])
        embeddings = [branch.time_embedding for branch in branches if branch.time_embedding is not None]
        time_embedding = torch.cat([own for own in embeddings for _ in range(repeats)]) if embeddings else None
        shown = (len(branches) - without) * repeats
        if cache and self.supports_cache:
            layers = self._layer_conditions(ports, without * repeats * len(ports.pose_features), shown)
            tokens = ports.tokens if isinstance(ports.tokens, torch.Tensor) else ports.tokens["mid"]
            return Conditions(pose_features, time_embedding, tokens, layers)
        more = (ports.extra_tokens, ports.reference, ports.anchors)
        if not isinstance(ports.tokens, torch.Tensor) or any(entry is not None for entry in more):
            refuse_unread()
        absent = torch.zeros_like(ports.tokens)
        tokens = torch.cat([absent] * (without * repeats) + [ports.tokens] * shown)
        return Conditions(pose_features, time_embedding, tokens, {})

    def _layer_conditions(
        self, ports: Ports, zero_rows: int, repeats: int
    ) -> dict[str, tuple[LayerConditions | None, ...]]:
        by_stage = _tokens_by_stage(ports.tokens)
        mask = functools.cache(functools.partial(_reference_mask, ports, repeats))
        rows: Any = {"zero_rows": zero_rows, "repeats": repeats}
        layers = {}
        for name, transformer in self._transformers():
            own: list[LayerConditions | None] = []
            for layer, attn in _attention_layers(transformer):
                block = f"{name}.{layer.rpartition('.')[0]}"
                if attn.is_cross_attention:
                    extra = None
                    if ports.extra_tokens is not None:
                        extra = attn.processor.extra_keys_values(attn, ports.extra_tokens)
                    tokens = keys_values(attn, by_stage[name.split("_")[0]])  # of down_blocks, mid_block or up_blocks
                    own.append(LayerConditions(tokens, extra, ports.extra_weight, **rows))
                elif ports.reference is None:
                    own.append(None if ports.anchors is None else LayerConditions(anchors=ports.anchors, **rows))
                elif block not in ports.reference:
                    raise PgpisError(f"the ReferenceNet has no '{block}': it must have the denoiser's blocks")
                else:
                    hidden = ports.reference[block].to(self.dtype)
                    lent = keys_values(attn, hidden)
                    own.append(
                        LayerConditions(reference=lent, anchors=ports.anchors, mask=mask(hidden.shape[1]), **rows)
                    )
            layers[name] = tuple(own)
        return layers


def build_unet(spec: ModelSpec, *, fusion: bool = True, extra_tokens: bool = False) -> ConditionedUNet:
    """Build the denoiser.

    Args:
        spec: Hub id or folder of a Stable Diffusion pipeline (its ``unet`` subfolder is taken) or of a UNet alone; or
            a configuration of ``UNet2DConditionModel``.
        fusion: Whether an embedding is added to the time embedding; this adds no weights.
        extra_tokens: See :class:`ConditionedUNet`.

    Raises:
        PgpisError: Not found, a key that the configuration does not have, or weights that do not fit exactly.
    """
    ports: dict[str, Any] = {"class_embed_type": "identity" if fusion else None, "extra_tokens": extra_tokens}
    if not isinstance(spec, Mapping):
        return load_diffusers(ConditionedUNet, "unet", spec, subfolder="unet", **ports)
    check_keys("unet", spec, init_keys(ConditionedUNet))
    with building("unet: its configuration"):
        return ConditionedUNet.from_config({**public_fields(spec), **ports})


def _attention_layers(transformer: Transformer2DModel) -> list[tuple[str, Attention]]:
    return [(name, module) for name, module in transformer.named_modules() if isinstance(module, Attention)]


def _pass_own_conditions(
    name: str, _transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hand a transformer its own layers' conditions: a layer that looked them up by name could not share a graph."""
    passed = kwargs.get("cross_attention_kwargs")
    if passed and isinstance(passed.get("conditions"), Conditions):
        kwargs = {**kwargs, "cross_attention_kwargs": {**passed, "conditions": passed["conditions"].layers[name]}}
    return args, kwargs


def _tokens_by_stage(tokens: Any) -> dict[str, torch.Tensor]:
    """Return the tokens of each stage, as many for all where whole repetitions make them so.

    A set of tokens that is repeated gives the same attention, and compiled layers share a graph.
    """
    by_stage = tokens if isinstance(tokens, Mapping) else dict.fromkeys(STAGES, tokens)
    most = max(own.shape[1] for own in by_stage.values())
    return {
        stage: own if most % own.shape[1] else own.repeat(1, most // own.shape[1], 1) for stage, own in by_stage.items()
    }


def _reference_mask(ports: Ports, repeats: int, length: int) -> torch.Tensor | None:
    """Return what is added to the logits of own, anchors' and reference keys; see :class:`LayerConditions`."""
    bias, keep, anchors = ports.reference_bias, ports.keep_reference, ports.anchors
    if bias is None and keep is None and anchors is None:
        return None
    added = ports.pose_features.new_zeros(1, 1, 1, length) if bias is None else bias(length)
    if keep is not None:
        added = added.masked_fill(~keep[:, None, None, None], -torch.inf)
    if anchors is not None:  # who reads itself twice would read less of the reference
        itself = anchors == torch.arange(len(anchors), device=anchors.device)[:, None]  # (P, K)
        beside = added.new_zeros(*anchors.shape).masked_fill(itself, -torch.inf)
        beside = beside.repeat_interleave(length, dim=1)[:, None, None].expand(-1, -1, added.shape[2], -1)
        added = torch.cat([beside, added.expand(len(anchors), -1, -1, -1)], dim=-1)  # (P, 1, 1 or L, (K + 1) * L)
    return F.pad(added, (length, 0)).repeat(repeats, 1, 1, 1)


def denoise(
    unet: ConditionedUNet, latents: torch.Tensor, timesteps: torch.Tensor, conditions: Conditions
) -> torch.Tensor:
    """Run the denoiser once.

    Args:
        unet: The denoiser.
        latents: Noisy latents, scaled, ``(R, C, h, w)``; the prediction has their shape.
        timesteps: int64 ``(R,)`` or a scalar.
        conditions: For R rows, from :meth:`ConditionedUNet.prepare`.

    Raises:
        PgpisError: The conditions are for another number of rows.
    """
    pose_features = conditions.pose_features
    if len(latents) != len(pose_features):
        raise PgpisError(f"the denoiser got {len(latents)} rows, but its conditions are for {len(pose_features)}")
    return unet(
        torch.cat([latents.to(pose_features.dtype), pose_features], dim=1),
        timesteps,
        encoder_hidden_states=conditions.tokens,
        class_labels=conditions.time_embedding,
        cross_attention_kwargs={"conditions": conditions} if conditions.layers else None,
        return_dict=False,
    )[0]
