"""``pgpis bench synth``: models on held-out synthetic people, against their exact truth."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
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


def parser() -> ArgumentParser:
    """Return the parser of ``pgpis bench``."""
    root = ArgumentParser(exit_on_error=False, prog="pgpis bench", description="Measure models.")
    synth = ArgumentParser(
        exit_on_error=False,
        description="Score models on held-out synthetic people against their exact truth, beside rows that need no "
        "model. All pictures are written; what is there is not made again.",
    )
    synth.add_argument("--root", type=Path, required=True, help="data set of 'pgpis synth', with textures for MCLD")
    synth.add_argument("--out", type=Path, required=True, help="folder to write to")
    synth.add_argument("--pairs", type=int, default=500, help="test pairs, spread over the list")
    synth.add_argument("--candidates", type=int, default=5, help="drawings to choose from in recognition")
    synth.add_argument("--models", nargs="*", default=MODELS, metavar="NAME=PIPELINE", help="models to score")
    synth.add_argument("--generated", action="append", default=[], metavar="NAME=FOLDER", help="a model's pictures")
    synth.add_argument("--differences", nargs="*", default=[], metavar="A-B", help="rows to compare pair by pair")
    root.add_subcommands().add_subcommand("synth", synth, help="the benchmark of docs/benchmark.md")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis bench synth``."""
    options = parse(parser(), words)
    from pgpis.evaluate.synth_benchmark import BenchmarkSettings, run_benchmark

    settings = BenchmarkSettings(
        options.root,
        options.out,
        options.pairs,
        options.candidates,
        _named("--models", options.models, "PIPELINE"),
        {name: Path(folder) for name, folder in _named("--generated", options.generated, "FOLDER").items()},
        tuple(_difference(word) for word in options.differences),
    )
    sys.stdout.write(run_benchmark(settings, sample, OwnEncoder()))
    return 0


def _named(option: str, words: Sequence[str], what: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not (name and value):
            raise PgpisError(f"{option} {word}: expected NAME={what}")
        named[name] = value
    return named


def _difference(word: str) -> tuple[str, str]:
    ours, dash, other = word.partition("-")
    if not dash:
        raise PgpisError(f"--differences {word}: expected two rows, A-B")
    return ours, other


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

    data = PoseTransferDataModule(test=pairs, batch_size=BATCH, num_workers=0, image_specs=task.image_specs)
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
