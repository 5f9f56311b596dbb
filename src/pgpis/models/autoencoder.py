"""Autoencoders: what the two families of diffusers have in common here, and a start that needs no training."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, AutoencoderKL
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock

from pgpis.errors import PgpisError

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderDC
Trained = Literal["all", "decoder", "blocks"]

CONSTANT = 8.0
"""Value of the channels that keep the last normalisation of the decoder linear."""
BIAS = 4.0
"""What lifts the pictures above the kink of the decoder's last activation."""


def scale_factor(vae: Autoencoder) -> int:
    """Return how many pixels one latent stands for in each direction."""
    is_deep = isinstance(vae, AutoencoderDC)
    stages = vae.config.encoder_block_out_channels if is_deep else vae.config.block_out_channels
    return int(2 ** (len(stages) - 1))


def encode_moments(vae: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """Return mean and deviation of the latents of RGB pictures in [-1, 1], not scaled, ``(B, 2C, h, w)``.

    The deviation of a deep compression autoencoder is zero.
    """
    encoded = vae.encode(images.to(vae.dtype))
    if isinstance(vae, AutoencoderDC):
        return torch.cat([encoded.latent, torch.zeros_like(encoded.latent)], dim=1)
    return torch.cat([encoded.latent_dist.mean, encoded.latent_dist.std], dim=1)


def mean_latents(vae: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """Return the mean of the latents of RGB pictures in [-1, 1], not scaled, ``(B, C, h, w)``."""
    return encode_moments(vae, images).chunk(2, dim=1)[0]


def choose_trained(vae: Autoencoder, train: Trained) -> None:
    """Freeze all but what is to be trained: everything, the decoder, or the residual blocks of the decoder.

    Raises:
        PgpisError: It has no such blocks.
    """
    vae.requires_grad_(train == "all")
    parts: list[Any] = []
    if train == "decoder":
        parts = [vae.decoder, getattr(vae, "post_quant_conv", None)]
    elif train == "blocks":
        parts = [block for block in vae.decoder.modules() if isinstance(block, ResBlock)]
        if not parts:
            raise PgpisError("train: only an AutoencoderDC has 'blocks' to train", hint="'all' or 'decoder'")
    for part in parts:
        if part is not None:
            part.requires_grad_(True)


@torch.no_grad()
def start_from_patches(vae: Autoencoder, images: torch.Tensor) -> None:
    """Set an ``AutoencoderDC`` to the principal components of the pictures' patches.

    The encoder becomes: cut the picture into patches, keep as many components as there are latent channels, each
    divided by the root of its deviation. The decoder becomes the inverse. All residual blocks start as nothing. That is
    the best that a linear autoencoder can do; training adds to it.

    Args:
        vae: With ``ResBlock`` only; encoder layers ``(0, 1, .., 0)`` and channels ``(.., 12, 48, ..)``, four times as
            many at each halving; in the decoder's last stages at least 3 and a spare one, 12, 48, .. channels.
        images: Pictures to learn the components from, ``(B, 3, H, W)`` in [-1, 1].

    Raises:
        PgpisError: The architecture cannot hold it.
    """
    if not isinstance(vae, AutoencoderDC):
        raise PgpisError("only an AutoencoderDC can start from patches", hint="vae: {_class_name: AutoencoderDC, ...}")
    side, latents = scale_factor(vae), int(vae.config.latent_channels)
    _check_widths(vae, side)
    # channels in the order in which repeated unshuffling stacks them
    patches = images
    for _ in range(side.bit_length() - 1):
        patches = F.pixel_unshuffle(patches, 2)
    rows = patches.permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = rows.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((rows - mean).T))
    basis = vectors[:, -latents:].flip(1)  # (3 * side**2, C)
    root = values[-latents:].flip(0).clamp(min=1e-12) ** 0.25
    for block in vae.modules():  # what remains of a silenced residual block is its shortcut
        if isinstance(block, ResBlock):
            for parameter in block.norm.parameters():
                parameter.zero_()
    _set_encoder(vae.encoder, basis / root, -(mean @ basis) / root)
    _set_decoder(vae.decoder, basis * root, mean)


def _check_widths(vae: AutoencoderDC, side: int) -> None:
    config: Any = vae.config
    for kinds in (config.encoder_block_types, config.decoder_block_types):
        if set([kinds] if isinstance(kinds, str) else kinds) != {"ResBlock"}:
            raise PgpisError(f"vae: blocks of {kinds} cannot start from patches", hint="only ResBlock can be silenced")
    encoder, decoder = config.encoder_block_out_channels, config.decoder_block_out_channels
    widths = [3 * 4**stage for stage in range(1, side.bit_length())]
    layers = config.encoder_layers_per_block
    if list(encoder[1:]) != widths or layers[0] or layers[-1] or not all(layers[1:-1]):
        raise PgpisError(
            f"vae: encoder_block_out_channels {tuple(encoder)} cannot start from patches",
            hint=f"[3, {', '.join(map(str, widths))}] with encoder_layers_per_block [0, 1, .., 1, 0]",
        )
    least_widths = [4, *widths[:-1]]
    too_few = any(has < least for has, least in zip(decoder[:-1], least_widths, strict=True))
    if too_few or not all(config.decoder_layers_per_block[:-1]):
        raise PgpisError(
            f"vae: decoder_block_out_channels {tuple(decoder)} are too few to start from patches",
            hint=f"at least {least_widths} and a last stage, with at least one layer each",
        )
    if decoder[-1] < config.latent_channels:
        raise PgpisError(f"vae: the decoder's last stage has {decoder[-1]} channels, less than latent_channels")


def _middle(conv: torch.nn.Conv2d, matrix: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """Let a 3 x 3 convolution look at the middle only."""
    assert conv.bias is not None
    conv.weight.zero_()
    conv.weight[: matrix.shape[0], : matrix.shape[1], 1, 1] = matrix.to(conv.weight)
    conv.bias.zero_()
    if bias is not None:
        conv.bias[: len(bias)] = bias.to(conv.bias)


def _set_encoder(encoder: Any, projection: torch.Tensor, offset: torch.Tensor) -> None:
    _middle(encoder.conv_in.conv, torch.eye(3))
    for stage in encoder.down_blocks:
        for block in stage:
            if isinstance(block, DCDownBlock2d):  # its shortcut is the unshuffling
                _middle(block.conv, torch.zeros(0, 0))
    matrix = projection.T
    if encoder.out_shortcut:  # adds means of groups of channels
        size = encoder.out_shortcut_average_group_size
        matrix = matrix - torch.eye(len(matrix), dtype=matrix.dtype).repeat_interleave(size, dim=1) / size
    _middle(encoder.conv_out, matrix, offset)


def _set_decoder(decoder: Any, synthesis: torch.Tensor, mean: torch.Tensor) -> None:
    latents = synthesis.shape[1]
    width = decoder.conv_in.out_channels
    first = torch.eye(width, latents, dtype=synthesis.dtype)
    if decoder.in_shortcut:
        first = first - torch.eye(latents, dtype=synthesis.dtype).repeat_interleave(decoder.in_shortcut_repeats, dim=0)
    _middle(decoder.conv_in, first)
    blocks = [block for stage in reversed(decoder.up_blocks) for block in stage if isinstance(block, DCUpBlock2d)]
    held = synthesis.shape[0]  # signal channels of a parent, stacked as unshuffling does: channel, then place
    for number, block in enumerate(blocks):
        inner = block.conv.in_channels
        children = block.conv.out_channels // 4
        matrix = torch.zeros(4 * children, inner, dtype=synthesis.dtype)
        bias = torch.zeros(4 * children, dtype=synthesis.dtype)
        if number == 0:
            matrix[:held, :latents], bias[:held] = synthesis, mean
        else:
            matrix[:held, :held] = torch.eye(held, dtype=synthesis.dtype)
        if number == len(blocks) - 1:
            bias[held:] = CONSTANT
        # the shortcut repeats channels; take it away
        repeats = torch.eye(inner, dtype=synthesis.dtype).repeat_interleave(block.repeats, dim=0)
        matrix[: len(repeats)] -= repeats
        _middle(block.conv, matrix, bias)
        held //= 4
    channels = decoder.norm_out.weight.shape[0]
    length = CONSTANT * ((channels - 3) / channels) ** 0.5  # of the channels, before normalisation
    decoder.norm_out.weight.fill_(length)
    decoder.norm_out.bias.fill_(BIAS)
    _middle(decoder.conv_out, torch.eye(3), torch.full((3,), -BIAS))
