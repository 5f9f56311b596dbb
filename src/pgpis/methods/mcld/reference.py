"""ReferenceNet: a UNet that is run once on the texture and lends its hidden states to the denoiser's self-attention."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn

from pgpis.denoiser.attention import InSlices
from pgpis.errors import PgpisError
from pgpis.models.factory import ModelSpec
from pgpis.models.foreign import building
from pgpis.models.loading import (
    LoadErrors,
    check_keys,
    init_keys,
    load_diffusers,
    public_fields,
    stored_config,
    subfolder_of,
)

__all__ = ["ModelMixin", "ReferenceBank", "ReferenceNet"]  # diffusers' loader looks for the base class here

ReferenceBank = dict[str, torch.Tensor]
"""By the name of a transformer block: its input after ``norm1``, ``(B, L, C)``."""


class LastBlock(nn.Module):
    """What is left of the last transformer block: its first normalisation. Nothing reads what would come after."""

    def __init__(self, norm1: nn.Module) -> None:
        super().__init__()
        self.norm1 = norm1

    def forward(self, hidden_states: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        """Normalise for the bank, which reads what ``norm1`` returns, and return the input."""
        self.norm1(hidden_states)
        return hidden_states


class ReferenceNet(InSlices, UNet2DConditionModel):  # type: ignore[misc, unused-ignore]
    """``UNet2DConditionModel`` without what comes after its last ``norm1``.

    Arguments and names of weights are the base class's; the tail (rest of the last transformer block, its output
    projection, what of its UNet block and which UNet blocks come after it, ``conv_norm_out``, ``conv_out``) is not
    built.

    In float16 it stays float32, under ``.to``, ``from_pretrained`` and autocast alike: nothing bounds the hidden states
    that it adds up from block to block, and a net that was trained in a wider type passes 65504 (synth-mcld: 2 million
    in ``up_blocks.2``). It runs once per picture; what it lends is normalised and fits.

    Source: MCLD, section "Appearance: ReferenceNet on the UV texture"; Animate Anyone.
    """

    up_blocks: Any

    @functools.wraps(UNet2DConditionModel.__init__)  # type: ignore[misc, unused-ignore]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        numbers = [index for index, block in enumerate(self.up_blocks) if getattr(block, "attentions", None)]
        if not numbers:
            raise PgpisError("ReferenceNet: one of up_block_types must have attention, as CrossAttnUpBlock2D")
        last_stage = self.up_blocks[numbers[-1]]
        if numbers[-1] < len(self.up_blocks) - 1:
            last_stage.upsamplers = None
            self.up_blocks = self.up_blocks[: numbers[-1] + 1]
        last: Any = last_stage.attentions[-1]
        last.transformer_blocks[-1] = LastBlock(last.transformer_blocks[-1].norm1)
        last.proj_out = nn.Identity()
        self.conv_norm_out = None
        self.conv_out = nn.Identity()

    def set_default_attn_processor(self) -> None:
        """Put the processors back that the class was built with."""
        self.set_attn_processor(AttnProcessor2_0())

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load as the base class does, in float32 where float16 is asked for."""
        for name in ("torch_dtype", "dtype"):
            if kwargs.get(name) == torch.float16:
                kwargs[name] = torch.float32
        return super().from_pretrained(*args, **kwargs)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        def widened(value: torch.Tensor) -> torch.Tensor:
            moved = fn(value)
            return value.to(moved.device, torch.float32) if moved.dtype == torch.float16 else moved

        return super()._apply(widened, recurse)

    def tail(self) -> tuple[str, ...]:
        """Return the beginnings of the stock weights that are not built."""
        block = next(name for name, module in self.named_modules() if isinstance(module, LastBlock))
        after = len(self.up_blocks)
        cut = [f"up_blocks.{number}." for number in range(after, len(self.config.up_block_types))]
        return (
            "conv_out.",
            "conv_norm_out.",
            *([f"up_blocks.{after - 1}.upsamplers.", *cut] if cut else []),
            f"{block.split('.transformer_blocks.')[0]}.proj_out.",
            *(f"{block}.{name}." for name in ("attn1", "attn2", "norm2", "norm3", "ff")),
        )

    def bank(self, latents: torch.Tensor, tokens: torch.Tensor) -> ReferenceBank:
        """Run once, at time step 0, and return what each transformer block's ``norm1`` returned.

        It reads scaled latents of the texture, ``(B, 4, h, w)``, and the CLIP tokens of the source
        pictures, ``(B, S, cross_attention_dim)``.
        """
        bank: ReferenceBank = {}

        def lend(block: str, _norm1: nn.Module, _inputs: Any, hidden_states: torch.Tensor) -> None:
            bank[block] = hidden_states

        hooks = [
            module.register_forward_hook(functools.partial(lend, name.removesuffix(".norm1")))
            for name, module in self.named_modules()
            if name.endswith(".norm1") and ".transformer_blocks." in name
        ]
        latents, tokens = latents.to(self.dtype), tokens.to(self.dtype)
        kind = latents.device.type
        dtype = torch.get_autocast_dtype(kind)
        try:
            with torch.autocast(kind, dtype, enabled=torch.is_autocast_enabled(kind) and dtype != torch.float16):
                self(latents, 0, encoder_hidden_states=tokens, return_dict=False)
        finally:
            for hook in hooks:
                hook.remove()
        return bank


def build_reference_net(spec: ModelSpec) -> ReferenceNet:
    """Build the ReferenceNet; ``spec`` as in :func:`pgpis.denoiser.build_unet`, a stock UNet's tail is left out."""
    if isinstance(spec, Mapping):
        check_keys("reference_net", spec, init_keys(ReferenceNet))
        with building("reference_net: its configuration"):
            return ReferenceNet.from_config(public_fields(spec))
    with LoadErrors("reference_net", spec):
        config = stored_config(UNet2DConditionModel, spec, subfolder_of(spec, "unet"))
        with torch.device("meta"):
            tail = ReferenceNet.from_config(config).tail()
    return load_diffusers(ReferenceNet, "reference_net", spec, subfolder="unet", leaves_out=tail)
