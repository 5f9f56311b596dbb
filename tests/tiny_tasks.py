"""Tasks of both methods at tiny size."""

import torch

from pgpis.methods.fpdm.options import FPDMPorts, FPDMSampling
from pgpis.methods.fpdm.task import FPDMTask
from pgpis.methods.mcld.options import MCLDPorts, MCLDSampling
from pgpis.methods.mcld.task import MCLDTask
from tiny_fpdm import CLIP, DINO, HEIGHT, UNET, VAE, WIDTH

NOISE = {"_class_name": "DDPMScheduler"}


def tiny_fpdm_task(**options):
    torch.manual_seed(0)
    ports = FPDMPorts(source_size=56, pose_hidden_channels=(4, 8), token_hidden_dim=10)
    usual = {"sampling": FPDMSampling(HEIGHT, WIDTH), "scheduler": NOISE, "source_encoder": DINO, "conditioner": ports}
    return FPDMTask(unet=UNET, vae=VAE, **{**usual, **options})


def tiny_mcld_task(**options):
    torch.manual_seed(0)
    ports = MCLDPorts(None, (4, 8), 16, 1, 2, 8, 4)
    return MCLDTask(MCLDSampling(HEIGHT, WIDTH), unet=UNET, vae=VAE, image_encoder=CLIP, conditioner=ports, **options)
