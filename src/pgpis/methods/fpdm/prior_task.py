"""FPDM stage 1: training the Image-Pose Fusion prior, and measuring how well it retrieves the target."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import InputSpecs, PairBatch
from pgpis.errors import PgpisError, check_range
from pgpis.methods.fpdm.losses import fusion_loss
from pgpis.methods.fpdm.prior import FusionEmbedder, TripletEmbeddings, build_fusion_embedder
from pgpis.metrics import MetricReport, RetrievalMetrics
from pgpis.models.factory import ModelSpec
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.encoder import LEAST_TEMPERATURE
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.options import Schedule


class FusionPriorTask(PersonImageTask):
    """Trains the prior so that (source, pose) lands on the target's embedding.

    Args:
        encoder: Vision encoder (CLIP or DINOv2), trained too: hub id, folder or configuration.
        fusion_embedder: A prior to start from instead (folder, hub id or arguments); ``encoder`` is then not used.
        combiner: Fuse source and pose (A2, A3); False measures the source's own embedding (A1), which is not trained.
        source_enhanced: Source-enhanced InfoNCE (A3) instead of the baseline (A2).
        temperature: Temperature of InfoNCE.
        global_negatives: InfoNCE over the training batches of all devices; False as in the official code. Validation
            always compares within one batch.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training and validation; ``seed_everything`` sets it on the command line.

    Source: FPDM, section "Image-Pose Fusion Model", equations 1-3.
    """

    def __init__(
        self,
        encoder: ModelSpec = "openai/clip-vit-large-patch14",
        fusion_embedder: ModelSpec | None = None,
        combiner: bool = True,
        source_enhanced: bool = True,
        temperature: float = 0.07,
        global_negatives: bool = True,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-5, weight_decay=1e-4),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        check_range("temperature", temperature, LEAST_TEMPERATURE)
        if fusion_embedder is None:
            self.fusion_embedder = FusionEmbedder.from_encoder(encoder, combiner=combiner)
        elif combiner:
            self.fusion_embedder = build_fusion_embedder(fusion_embedder)
        elif isinstance(fusion_embedder, str):
            raise PgpisError(
                f"combiner: false measures an encoder as it is, and '{fusion_embedder}' is a trained prior",
                hint="--model.init_args.fusion_embedder '{encoder: FOLDER}'",
            )
        else:
            self.fusion_embedder = build_fusion_embedder({**fusion_embedder, "combiner": False})
        self.source_enhanced = source_enhanced
        self.temperature = temperature
        self.global_negatives = global_negatives
        self.retrieval = RetrievalMetrics(self.fusion_embedder.embedding_dim)

    @property
    def input_specs(self) -> InputSpecs:
        """Source, pose and target as the encoder takes them."""
        return self.fusion_embedder.input_specs()

    def prepare_training(self) -> None:
        """Refuse to train what has nothing to train."""
        if self.fusion_embedder.fusion_head is None:
            raise PgpisError(
                "combiner: false (ablation A1) uses the encoder as it is: there is nothing to train",
                hint="pgpis test --config fusion.yaml --config ablation/a1.yaml",
            )

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compute InfoNCE and its accuracies."""
        triplet = self._embed(batch)
        result = fusion_loss(
            triplet.source,
            triplet.target,
            triplet.fused,
            source_enhanced=self.source_enhanced,
            temperature=self.temperature,
            # processes may have different numbers of validation batches: a collective call there would wait forever
            global_negatives=self.global_negatives and train,
        )
        return vars(result).copy()

    def _embed(self, batch: PairBatch) -> TripletEmbeddings:
        return self.fusion_embedder.embed_triplet(batch["prior_source"], batch.get("prior_pose"), batch["prior_target"])

    @torch.no_grad()
    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor | None:
        """Draw source | pose | target | target of this batch that the fused embedding finds."""
        if "prior_pose" not in batch:
            return None
        triplet = self._embed(batch)
        nearest = (triplet.fused @ torch.nn.functional.normalize(triplet.target, dim=-1).T).argmax(dim=1)
        retrieved = batch["prior_target"][nearest]
        columns = [batch["prior_source"], batch["prior_pose"], batch["prior_target"], retrieved]
        return picture_grid([column[:rows] for column in columns])

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Add queries and targets of one batch to the gallery."""
        self.failures += batch["failures"]
        if self.may_begin("test", batch):
            triplet = self._embed(batch)
            self.retrieval.update(triplet.fused, triplet.target, batch["target_path"], batch["pair_id"])

    def on_test_epoch_end(self) -> None:
        """Log the metrics and write the report."""
        results = {name: float(value) for name, value in self.retrieval.compute().items()}
        samples = self.retrieval.query_count
        self.retrieval.reset()
        self.log_dict(results, rank_zero_only=True)
        self.write_report(MetricReport("fpdm prior retrieval", samples, results))

    def exported(self) -> tuple[str, Any]:
        """Export the prior."""
        return "fusion_embedder", self.fusion_embedder
