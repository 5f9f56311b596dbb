"""DensePose R-CNN on torchvision: a picture to the map of body parts and their surface coordinates."""

from pgpis.preprocess.densepose.checkpoint import load_densepose, read_arrays
from pgpis.preprocess.densepose.config import DensePoseConfig
from pgpis.preprocess.densepose.model import DensePoseRCNN, Detection
from pgpis.preprocess.densepose.surface import Overflow, iuv_image, surface_of

__all__ = [
    "DensePoseConfig",
    "DensePoseRCNN",
    "Detection",
    "Overflow",
    "iuv_image",
    "load_densepose",
    "read_arrays",
    "surface_of",
]
