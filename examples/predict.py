"""Pictures in plain Python: a pipeline from a folder, and a loop of your own over the DataModule.

    python examples/predict.py --pipeline outputs/fpdm/pipeline --sources photos --poses poses --out pictures

``MCLDPipeline`` takes the place of ``FPDMPipeline`` where a model of MCLD was exported, and reads IUV maps as poses.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from pgpis.data import FolderPairs, PoseTransferDataModule
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.pictures.images import save_image


def main(words: Sequence[str] | None = None) -> None:
    """Make every source in every pose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, required=True, help="folder of a pipeline")
    parser.add_argument("--sources", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--poses", type=Path, required=True, help="folder of key points or drawn poses")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = FPDMPipeline.from_pretrained(options.pipeline).to(device)
    specs = pipeline.input_specs(pipeline.config.height, pipeline.config.width)
    pairs = FolderPairs(sources=options.sources, poses=options.poses)
    canvas = tuple(pipeline.config.pose_canvas)  # key points are drawn as for training
    drawing = {"pose_canvas": canvas, "pose_skeleton": pipeline.config.pose_skeleton}
    data = PoseTransferDataModule(predict=pairs, input_specs=specs, batch_size=4, num_workers=0, **drawing)
    data.setup("predict")
    for batch in data.predict_dataloader():
        # a generator for each pair: its picture does not depend on the others of the batch
        generators = [torch.Generator().manual_seed(options.seed + int(index)) for index in batch["index"]]
        images = pipeline.generate(batch, generator=generators).images
        for name, image in zip(batch["pair_id"], images, strict=True):
            save_image(image, options.out / f"{name}.png")


if __name__ == "__main__":
    main()
