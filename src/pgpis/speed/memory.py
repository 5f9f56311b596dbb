"""The memory of a training step, counted from the sizes of tensors: nothing is allocated, and no GPU is needed."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TextIO

import torch
from rich import box
from rich.table import Table
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.initialization import no_init_weights

from pgpis.errors import PgpisError
from pgpis.speed.batches import RandomData, random_batch
from pgpis.speed.device import GIB
from pgpis.speed.report import headed
from pgpis.tasks.base import PersonImageTask

TITLES = ("batch", "weights, GiB", "gradients", "optimiser", "the rest", "peak")
SAMPLES, SIDE = 128, 256
"""Weights on which an optimiser is tried: many, so that what it holds for one at a time does not count, and large
enough to be quantised."""


@dataclass(frozen=True)
class StepMemory:
    """Where the memory of a training step goes, in GiB."""

    batch_size: int
    weights: float
    """All of them, frozen ones too."""
    gradients: float
    optimizer: float
    """What the optimiser keeps."""
    rest: float
    """What a forward and a backward pass, or the optimiser's step, needs at most beside that."""

    @property
    def peak(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.rest


@dataclass(frozen=True)
class MemoryReport:
    """What was counted, as table and as JSON."""

    subject: dict[str, Any]
    rows: list[StepMemory]

    def to_json(self) -> str:
        """Return all figures."""
        rows = [{**asdict(row), "peak": row.peak} for row in self.rows]
        return json.dumps({**self.subject, "rows": rows}, indent=2) + "\n"

    def print(self, stream: TextIO) -> None:
        """Write a table that is Markdown as well, in GiB."""
        console = headed(stream, self.subject)
        table = Table(*TITLES, box=box.MARKDOWN)
        for row in self.rows:
            figures = (row.weights, row.gradients, row.optimizer, row.rest, row.peak)
            table.add_row(str(row.batch_size), *(f"{figure:.2f}" for figure in figures))
        console.print(table)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Counts the bytes of the tensors that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def watch(self, tensors: Iterable[torch.Tensor]) -> int:
        """Count tensors that are made elsewhere, and return what is alive."""
        for tensor in tensors:
            flatten: Any = getattr(tensor, "__tensor_flatten__", None)  # of a tensor that is made of others
            if flatten is not None:
                self.watch(getattr(tensor, name) for name in flatten()[0])
                continue
            storage = tensor.untyped_storage()
            if storage not in self._known:
                self._known.add(storage)
                size = storage.nbytes()
                weakref.finalize(storage, self._freed, size)
                self.now += size
                self.peak = max(self.peak, self.now)
        return self.now

    def _freed(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Carry out an operation, and count what it makes."""
        result = func(*args, **(kwargs or {}))
        self.watch(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        return result


def without_content() -> FakeTensorMode:
    """Return a context in which tensors that are made have sizes and no content; it may be entered again."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def built_in(empty: FakeTensorMode) -> Iterator[None]:
    """Build a model in the context; what fills weights would look at their content."""
    with empty, no_init_weights():
        yield


def step_memory(
    empty: FakeTensorMode,
    task: PersonImageTask,
    batch_sizes: Sequence[int],
    precision: str = "32-true",
    *,
    accumulates: bool = False,
) -> list[StepMemory]:
    """Count the memory of training steps.

    Not counted are what libraries of the GPU take for themselves (half a gigabyte and more), holes between tensors,
    and what is particular to kernels of a GPU.

    Args:
        empty: Of :func:`without_content`; in which the task was built, if it has no content.
        task: Whose steps; its weights lose their content.
        batch_sizes: Pairs in a batch; a row for each.
        precision: The trainer's: ``32-true``, ``bf16-mixed``, ``bf16-true``, ...
        accumulates: Whether gradients of earlier batches are there during a step.

    Raises:
        PgpisError: What the step does depends on the content of tensors.
    """
    is_half, is_mixed = precision.startswith(("bf16", "16")), precision.endswith("mixed")
    half = (torch.bfloat16 if precision.startswith("bf16") else torch.float16) if is_half else None
    task.train().data = RandomData()
    try:
        with empty:
            _empty(task, None if is_mixed else half)
            counted = [
                count_step(task, size, half if is_mixed else None, accumulates=accumulates) for size in batch_sizes
            ]
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        message = (
            f"the step of a {type(task).__name__} depends on the content of tensors ({error}): it cannot be counted"
        )
        raise PgpisError(message, hint="pgpis bench train measures it") from error
    trained = sum(value.numel() for value in task.parameters() if value.requires_grad) / GIB
    kept, needed = optimizer_bytes(task.optimizer, torch.float32 if half is None or is_mixed else half)
    return [
        StepMemory(size, weights, gradients, kept * trained, max(rest, needed * trained))
        for size, weights, gradients, rest in counted
    ]


def _empty(task: PersonImageTask, dtype: torch.dtype | None) -> None:
    """Replace a task's weights by some without content, of type ``dtype`` where one is given."""

    def like(value: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(value, dtype=dtype if value.is_floating_point() else None)

    for module in task.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(like(value), requires_grad=value.requires_grad))
        for name, value in list(module.named_buffers(recurse=False)):
            setattr(module, name, like(value))


def count_step(
    task: PersonImageTask, size: int, autocast: torch.dtype | None, *, accumulates: bool
) -> tuple[int, float, float, float]:
    """Return batch size, and GiB of weights, of gradients and of what a pass needs at most beside both.

    Where tensors have content, it is a real step that is counted.
    """
    task.zero_grad()
    generator = torch.Generator().manual_seed(0)
    batch = random_batch(task.loss_specs, size, torch.device("cpu"))
    live = LiveBytes()
    weights = live.watch([*task.parameters(), *task.buffers()])
    live.watch(value for value in batch.values() if isinstance(value, torch.Tensor))
    with live:
        for _ in range(1 + accumulates):
            live.peak = live.now
            with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None, cache_enabled=False):
                loss: Any = task.loss(batch, generator, train=True)["loss"]
            loss.backward()
            del loss
    gradients = sum(value.grad.nbytes for value in task.parameters() if value.grad is not None)
    return size, weights / GIB, gradients / GIB, max(0, live.peak - weights - gradients) / GIB


def optimizer_bytes(
    make: Callable[[Any], torch.optim.Optimizer], dtype: torch.dtype = torch.float32
) -> tuple[float, float]:
    """Return the bytes per trained weight that an optimiser keeps, and those that it needs during a step.

    Args:
        make: Makes it from parameters.
        dtype: Of the weights.
    """
    weights = [torch.nn.Parameter(torch.zeros(SIDE, SIDE, dtype=dtype)) for _ in range(SAMPLES)]
    optimizer = make(weights)
    for group in optimizer.param_groups:  # on a GPU PyTorch takes all weights at once, unless it is told otherwise
        if group.get("foreach", False) is None and not group.get("fused"):
            group["foreach"] = True
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    live = LiveBytes()
    with torch.compiler.set_stance("force_eager"):
        optimizer.step()  # makes what it keeps
        kept = live.watch(leaf for leaf in tree_leaves(optimizer.state) if isinstance(leaf, torch.Tensor))
        live.watch([*weights, *(weight.grad for weight in weights if weight.grad is not None)])
        before = live.peak = live.now
        with live:
            optimizer.step()
    count = SAMPLES * SIDE**2
    return kept / count, (live.peak - before) / count
