"""LightningModules: what ``fit``, ``validate``, ``test`` and ``predict`` do for each model."""

from pgpis.tasks.autoencoder import AutoencoderTask
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.fpdm import FPDMTask
from pgpis.tasks.fusion import FusionPriorTask

__all__ = ["AutoencoderTask", "FPDMTask", "FusionPriorTask", "PersonImageTask"]
