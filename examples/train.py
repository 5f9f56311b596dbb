"""Training in plain Python: a task's loss in a loop of your own over the DataModule, without Lightning's trainer.

    python examples/train.py --method fpdm --pipeline outputs/fpdm/pipeline --root outputs/people --out outputs/tuned

Goes on with a pipeline of FPDM or MCLD, on people of ``pgpis synth`` or DeepFashion, and exports what came out of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from pgpis.data import DeepFashion, OnMissing, PoseTransferDataModule
from pgpis.methods.fpdm.task import FPDMSampling, FPDMTask
from pgpis.methods.mcld.task import MCLDSampling, MCLDTask

METHODS = {"fpdm": (FPDMTask, FPDMSampling), "mcld": (MCLDTask, MCLDSampling)}


def main(words: Sequence[str] | None = None) -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS, default="fpdm")
    parser.add_argument("--pipeline", required=True, help="folder of a pipeline, or the name of one that ships")
    parser.add_argument("--root", type=Path, required=True, help="data set, with textures for MCLD")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the pipeline to")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 176), help="height and width")
    options = parser.parse_args(words)

    make_task, sampling = METHODS[options.method]
    height, width = options.size
    task = make_task(sampling(height=height, width=width), pipeline=options.pipeline)
    task.to("cuda" if torch.cuda.is_available() else "cpu").train()
    # a face that the source does not show is left out
    pairs = DeepFashion(options.root, "train", layout=options.method, on_missing=OnMissing(face="drop"))
    data = PoseTransferDataModule(train=pairs, input_specs=task.input_specs, batch_size=4, num_workers=0)
    data.setup("fit")
    task.data = data
    task.prepare_training()
    optimizer = torch.optim.AdamW([weight for weight in task.parameters() if weight.requires_grad], lr=1e-4)
    generator = torch.Generator(task.device).manual_seed(0)
    batches = (batch for _ in range(options.steps) for batch in data.train_dataloader())
    for step, batch in zip(range(options.steps), batches, strict=False):
        loss = task.loss(data.transfer_batch_to_device(batch, task.device, 0), generator, train=True)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.4f}")
    print(task.export(str(options.out)))


if __name__ == "__main__":
    main()
