"""Features that need no model: their cache, packs that hold them, and training from both."""

import torch

from pgpis.batch import FrozenFeature, ImageSpec
from pgpis.cli import main
from pgpis.data import DeepFashion, Packed, PoseTransferDataModule
from pgpis.data.cache import CacheWriter, files_of
from pgpis.data.features import feature_key, variants_of
from pgpis.data.transforms import FPDM_AUGMENTATION

SPECS = {
    "source_image": ImageSpec("source", 32, 24, train_detour=(16, 12)),
    "target_image": ImageSpec("target", 32, 24),
    "pose_image": ImageSpec("pose", 32, 24),
}
PICTURES = {"rows": ("source_image", "bfloat16"), "columns": ("target_image", "float32")}
SELF_PAIRS = 0.4


def encode(pictures):
    return pictures.mean(3)


def frozen(weights="of rows"):
    return lambda: {name: FrozenFeature(picture, weights, encode) for name, (picture, _) in PICTURES.items()}


def write_cache(folder, root, encode=encode):
    """Write what ``encode`` makes of the training pictures."""
    dataset = DeepFashion(root, self_pair_probability=SELF_PAIRS)
    dataset.setup()
    for name, (picture, dtype) in PICTURES.items():
        key, variants = feature_key(picture, SPECS, "of rows"), variants_of(picture, SPECS, FPDM_AUGMENTATION)
        files = files_of(dataset, SPECS[picture].origin)
        assert not CacheWriter(folder, SPECS, dtype).write(name, key, files, variants, encode, 8, lambda _: None)


def pack(root, out, *more):
    return main(["data", "pack", str(root), "--out", str(out), "--shard-size=0.02", *map(str, more)])


def module(dataset, cache, **options):
    options = {"frozen_features": frozen(), "batch_size": 5, "num_workers": 0} | options
    data = PoseTransferDataModule(
        train=dataset, cache=str(cache), input_specs=SPECS, pose_canvas=(64, 44), seed=3, **options
    )
    data.setup("fit")
    return data


def batches(dataset, cache, **options):
    """Return what training sees in two epochs."""
    loader = module(dataset, cache, **options).train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        yield from loader


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        assert left["pair_id"] == right["pair_id"]
        tensors = {key for key, value in left.items() if isinstance(value, torch.Tensor)}
        assert tensors == {"rows", "columns", "pose_image", "index"}
        for key in tensors:
            assert torch.equal(left[key], right[key]), key


def packed(root, **options):
    return Packed(root, self_pair_probability=SELF_PAIRS, **options)
