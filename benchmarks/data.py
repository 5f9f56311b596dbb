"""Time the loading of training pairs in one process: pictures decoded and fitted, against cached features.

Draws a small data set of 512x352 pictures, then loads what FPDM and MCLD declare at their published sizes. Features
have the published shapes and random content; what is timed is the loader.

    python benchmarks/data.py [--pairs 48] [--minimum 1.2]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch
from torch import nn

from pgpis.batch import FrozenFeature, InputSpecs
from pgpis.data import DeepFashion, PairTransform
from pgpis.data.cache import CacheFolder, files_of
from pgpis.data.cache_writer import CacheWriter, ShardMaker, make_here
from pgpis.data.features import FeatureCache, FeatureKey, feature_key, variants_of
from pgpis.data.samples import PairSamples
from pgpis.data.transforms import FPDM_AUGMENTATION
from pgpis.methods.fpdm.conditioner import FPDMConditioner
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.synth.files.dataset import make_dataset
from pgpis.synth.files.options import DatasetOptions

FEATURES = {
    "FPDM": {"target_moments": ("target_image", (8, 64, 44)), "source_tokens": ("source_image", (1297, 1024))},
    "MCLD": {
        "target_moments": ("target_image", (8, 64, 64)),
        "texture_moments": ("texture_image", (8, 64, 64)),
        "source_embedding": ("source_clip", (768,)),
        "texture_embedding": ("texture_clip", (768,)),
    },
}


def declared() -> dict[str, InputSpecs]:
    """Return what both models read at their published sizes; FPDM without its prior."""
    conditioner = MCLDConditioner(resampler_dim=8, resampler_depth=1, resampler_heads=1, resampler_head_dim=8)
    return {"FPDM": FPDMConditioner().input_specs(512, 352), "MCLD": conditioner.input_specs(512, 512, 224)}


def write_cache(folder: Path, model: str, specs: InputSpecs, dataset: DeepFashion) -> FeatureCache:
    """Write random features of the published shapes."""
    writer = CacheWriter(folder, "bfloat16")
    keys: dict[str, FeatureKey] = {}
    variants = {}
    for name, (picture, shape) in FEATURES[model].items():
        keys[name] = feature_key(picture, specs, "random")
        variants[name] = variants_of(picture, specs, FPDM_AUGMENTATION)
        files = files_of(dataset, specs[picture].origin)
        shards = writer.begin(name, keys[name], files, variants[name])
        feature = FrozenFeature(picture, "random", nn.Identity(), _random(shape))
        make_here(ShardMaker(feature, specs, "bfloat16"), shards, lambda _: None)
    return FeatureCache(CacheFolder(folder), keys, variants)


def _random(shape: tuple[int, ...]):  # noqa: ANN202
    return lambda _, images: torch.randn(len(images), *shape)


def rate(dataset: DeepFashion, transform: PairTransform, pairs: int) -> float:
    """Return training pairs a second in this process."""
    samples = PairSamples(dataset, transform, 0)
    samples[0, 0]
    start = time.perf_counter()
    for number in range(pairs):
        samples[number // len(dataset), number % len(dataset)]
    return pairs / (time.perf_counter() - start)


def main() -> int:
    """Print pairs a second for both models, from pictures and from features; return 1 if features gain too little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=48, help="pairs to load")
    parser.add_argument("--minimum", type=float, default=1.2, help="fail below this ratio, of either model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        options = DatasetOptions(4, 4, (512, 352), test_share=0.25, textures="exact")
        assert not make_dataset(root / "data", options).failures
        for model, specs in declared().items():
            dataset = DeepFashion(root / "data", "train")
            dataset.setup()
            dataset.on_missing = type(dataset.on_missing)(face="drop")
            cache = write_cache(root / model, model, specs, dataset)
            pictures = rate(dataset, PairTransform(specs, train=True), arguments.pairs)
            features = rate(dataset, PairTransform(specs, train=True, cache=cache), arguments.pairs)
            print(f"{model}: {pictures:.1f} pairs/s from pictures, {features:.1f} from features")
            ratios.append(features / pictures)
            print(f"ratio {ratios[-1]:.1f}")
    return int(min(ratios) < arguments.minimum)


if __name__ == "__main__":
    sys.exit(main())
