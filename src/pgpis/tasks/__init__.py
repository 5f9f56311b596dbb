"""What the tasks of all methods share, and the tasks of small encoders and autoencoders (LightningModules)."""

from pgpis.aliases import earlier_names
from pgpis.tasks.autoencoder import AutoencoderTask
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.diffusion import DiffusionTask, load_pipeline
from pgpis.tasks.encoder import VisionEncoderTask
from pgpis.tasks.lifter import LifterTask
from pgpis.tasks.options import Dropping, Sampling, Schedule, TrainingStep
from pgpis.tasks.predicting import PictureTask

__all__ = [
    "AutoencoderTask",
    "DiffusionTask",
    "Dropping",
    "LifterTask",
    "PersonImageTask",
    "PictureTask",
    "Sampling",
    "Schedule",
    "TrainingStep",
    "VisionEncoderTask",
    "load_pipeline",
]

__getattr__ = earlier_names(__name__)
