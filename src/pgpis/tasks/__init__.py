"""LightningModules: what ``fit``, ``validate``, ``test`` and ``predict`` do for each model."""

from pgpis.tasks.autoencoder import AutoencoderTask
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.tasks.encoder import VisionEncoderTask
from pgpis.tasks.fpdm import FPDMTask
from pgpis.tasks.fusion import FusionPriorTask
from pgpis.tasks.mcld import MCLDTask

__all__ = [
    "AutoencoderTask",
    "DiffusionTask",
    "FPDMTask",
    "FusionPriorTask",
    "MCLDTask",
    "PersonImageTask",
    "VisionEncoderTask",
]
