"""Retrieval metrics of the prior: how well a fused embedding finds its target among all targets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from pgpis.errors import PgpisError


class RetrievalMetrics(Metric):  # type: ignore[misc, unused-ignore]
    """Recall and average rank of the right target, by cosine similarity.

    The gallery holds each distinct target once, whichever device saw it and however often; each query is one pair.
    ``query_count`` is the number of queries, over all devices, of the last ``compute``.

    Args:
        embedding_dim: Width D of the embeddings.
        recall_at: Ranks up to which a target counts as found.

    Source: FPDM, table 2. The rank of a target is 1 + the number of gallery entries that are more similar.
    """

    is_differentiable = False
    full_state_update = False
    queries: list[torch.Tensor]
    query_pairs: list[torch.Tensor]
    targets: list[torch.Tensor]
    target_keys: list[torch.Tensor]

    def __init__(self, embedding_dim: int, recall_at: tuple[int, ...] = (1, 3, 5)) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.recall_at = recall_at
        self.query_count = 0
        for name in ("queries", "query_pairs", "targets", "target_keys"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self._start_states()

    def _start_states(self) -> None:
        # a rank without data must still gather tensors of the right shape and dtype
        for embeddings in (self.queries, self.targets):
            embeddings.append(torch.zeros(0, self.embedding_dim, device=self.device))
        for keys in (self.query_pairs, self.target_keys):
            keys.append(torch.zeros(0, dtype=torch.int64, device=self.device))

    def reset(self) -> None:
        """Forget all queries and targets."""
        super().reset()
        self._start_states()

    def update(
        self,
        fused: torch.Tensor,
        targets: torch.Tensor,
        target_keys: Sequence[str],
        pair_keys: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of pairs.

        Args:
            fused: Query of each pair, ``(B, D)``; need not be normalised.
            targets: Embedding of each pair's target, ``(B, D)``; need not be normalised.
            target_keys: What identifies each target, such as its path.
            pair_keys: What identifies each pair. A pair that comes twice, as samplers do that give every device as
                many, then counts once. None counts all.

        Raises:
            PgpisError: Shapes do not fit, or an embedding is not finite.
        """
        count = len(fused)
        expected = (count, self.embedding_dim)
        if tuple(fused.shape) != expected or tuple(targets.shape) != expected or len(target_keys) != count:
            raise PgpisError(
                f"retrieval: got embeddings {tuple(fused.shape)} and {tuple(targets.shape)} with {len(target_keys)} "
                f"target keys, expected {expected} twice and {count} keys"
            )
        if pair_keys is not None and len(pair_keys) != count:
            raise PgpisError(f"retrieval: got {len(pair_keys)} pair keys for {count} pairs")
        if not (fused.isfinite().all() and targets.isfinite().all()):
            raise PgpisError("retrieval: an embedding is NaN or infinite", hint="the prior has diverged")
        self.queries.append(F.normalize(fused.detach().float(), dim=1))
        self.targets.append(F.normalize(targets.detach().float(), dim=1))
        self.target_keys.append(_hashes(target_keys).to(fused.device))
        pairs = torch.full((count,), -1) if pair_keys is None else _hashes(pair_keys)
        self.query_pairs.append(pairs.to(fused.device))

    def compute(self) -> dict[str, torch.Tensor]:
        """Return ``recall_at_K`` for each K and ``average_rank`` (1-based, 1 is best); NaN without pairs."""
        ranks = self.ranks().to(torch.float64)
        self.query_count = len(ranks)
        recalls = {f"recall_at_{limit}": (ranks <= limit).double().mean() for limit in self.recall_at}
        return {**recalls, "average_rank": ranks.mean()}

    def ranks(self) -> torch.Tensor:
        """Return the 1-based rank of the target of each query of this device, int64 ``(Q,)``."""
        all_keys, pairs = dim_zero_cat(self.target_keys), dim_zero_cat(self.query_pairs)
        keys, first = _first_of_each(all_keys)
        gallery = dim_zero_cat(self.targets)[first]
        first_pairs = _first_of_each(pairs)[1]
        rows = torch.cat([first_pairs[pairs[first_pairs] >= 0], (pairs < 0).nonzero().flatten()])
        queries, positions = dim_zero_cat(self.queries)[rows], torch.searchsorted(keys, all_keys[rows])
        ranks = [
            1 + (similarity > similarity.gather(1, own[:, None])).sum(1)
            for chunk, own in zip(torch.split(queries, 1024), torch.split(positions, 1024), strict=True)
            for similarity in [chunk @ gallery.T]
        ]
        return torch.cat(ranks)


def _hashes(keys: Sequence[str]) -> torch.Tensor:
    """Hash keys to non-negative int64 that are the same in every process."""
    digests = (hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest() for key in keys)
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=torch.int64)


def _first_of_each(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sorted distinct keys and the position at which each comes first."""
    distinct, first = np.unique(keys.cpu().numpy(), return_index=True)
    return torch.from_numpy(distinct).to(keys.device), torch.from_numpy(first).to(keys.device)
