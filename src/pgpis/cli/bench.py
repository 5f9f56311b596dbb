"""``pgpis bench synth``: models on held-out synthetic people, against their exact truth."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pgpis.errors import PgpisError
from pgpis.pipelines.shipped import SHIPPED

if TYPE_CHECKING:  # these load torch
    import torch
    from PIL import Image

    from pgpis.batch import PairBatch
    from pgpis.data import DeepFashion
    from pgpis.tasks.diffusion import DiffusionTask

ENCODER = "synth-fpdm"
MODELS = ("FPDM=synth-fpdm", "MCLD=synth-mcld")
BATCH = 16


def synth(
    *,
    root: Path,
    out: Path,
    pairs: int = 500,
    candidates: int = 5,
    models: Annotated[Sequence[str], {"metavar": "NAME=PIPELINE", "nargs": "*"}] = MODELS,
    generated: Annotated[Sequence[str], {"metavar": "NAME=FOLDER"}] = (),
    differences: Annotated[Sequence[str], {"metavar": "A-B", "nargs": "*"}] = (),
) -> None:
    """Score models on held-out synthetic people against their exact truth, beside rows that need no model.

    All pictures are written; what is there is not made again.

    Args:
        root: Data set of ``pgpis synth``, with textures for MCLD.
        out: Folder to write to.
        pairs: Test pairs, spread over the list.
        candidates: Drawings to choose from in recognition.
        models: Models to score.
        generated: A model's pictures; may be given again.
        differences: Rows to compare pair by pair.
    """
    from pgpis.evaluate.synth_benchmark import BenchmarkSettings, run_benchmark

    pipelines = dict(_halves("--models", word, "=", "NAME=PIPELINE") for word in models)
    folders = {
        name: Path(folder) for name, folder in (_halves("--generated", w, "=", "NAME=FOLDER") for w in generated)
    }
    rows = tuple(_halves("--differences", word, "-", "two rows, A-B") for word in differences)
    settings = BenchmarkSettings(root, out, pairs, candidates, pipelines, folders, rows)
    sys.stdout.write(run_benchmark(settings, sample, OwnEncoder()))


def _halves(option: str, word: str, sign: str, expected: str) -> tuple[str, str]:
    first, _, second = word.partition(sign)
    if not (first and second):
        raise PgpisError(f"{option} {word}: expected {expected}")
    return first, second


class OwnEncoder:
    """The small encoder that ships with pgpis, as a judge."""

    def __init__(self) -> None:
        from pgpis.methods.fpdm import FPDMPipeline
        from pgpis.pipelines.bundle import load_bundle

        pipeline = load_bundle(FPDMPipeline, SHIPPED[ENCODER].path)
        self.encoder = pipeline.source_encoder.eval()
        self.size = int(pipeline.conditioner.config.source_size)

    def __call__(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Return the tokens of pictures, class token first, ``(B, N, D)``."""
        import torch

        from pgpis.models.encoders import encode_tokens
        from pgpis.pictures.images import image_to_tensor, resize

        sized = [image_to_tensor(resize(picture, self.size, self.size)) for picture in pictures]
        with torch.inference_mode():
            return encode_tokens(self.encoder, torch.stack(sized))


def load_task(pipeline: str) -> DiffusionTask:
    """Build a shipped model, or one that a recipe of ``configs/synth`` exported, with its recipe's steps and guidance.

    Raises:
        PgpisError: It is neither.
    """
    from pgpis.cli import lightning

    shipped = SHIPPED.get(pipeline)
    if shipped is None:
        index = Path(pipeline) / "model_index.json"
        if not index.is_file():
            raise PgpisError(f"{pipeline} is not a pipeline", hint=f"one of {', '.join(SHIPPED)}, or a folder")
        method = "mcld" if "MCLD" in index.read_text(encoding="utf-8") else "fpdm"
        shipped = SHIPPED[f"synth-{method}"]
    words = [f"--config={shipped.recipe}", f"--model.init_args.pipeline={pipeline}", "--trainer.logger=false"]
    task: Any = lightning.build(words).model
    return task.eval()


def batches(pairs: DeepFashion, task: DiffusionTask) -> Iterable[PairBatch]:
    """Return pairs in batches as a task reads them."""
    from pgpis.data import PoseTransferDataModule

    data = PoseTransferDataModule(test=pairs, batch_size=BATCH, num_workers=0, input_specs=task.input_specs)
    return data.test_dataloader()


def sample(pipeline: str, pairs: DeepFashion) -> Iterator[tuple[str, Image.Image]]:
    """Make a model's pictures of pairs, each with its pair's name."""
    import torch

    from pgpis.pictures.images import tensor_to_images

    task = load_task(pipeline)
    for batch in batches(pairs, task):
        with torch.inference_mode():
            images = tensor_to_images(task.sample(batch))
        yield from zip(batch["pair_id"], images, strict=True)
