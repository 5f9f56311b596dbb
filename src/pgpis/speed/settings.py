"""What is compared: settings made of words, ``bf16+compile``, and how a task is brought into one."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar

import torch

from pgpis.data.further import PER_SOURCE
from pgpis.errors import PgpisError, nearest
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.tasks.options import Compilation, FlowLoss, TrainingStep

TaskT = TypeVar("TaskT", bound=PersonImageTask)

WORDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "eager": {"compiled": False},
        "fp32": {"precision": "32-true", "tf32": False},
        "tf32": {"precision": "32-true", "tf32": True},
        "bf16": {"precision": "bf16-true"},
        "fp16": {"precision": "16-true"},
        "bf16-mixed": {"precision": "bf16-mixed"},
        "fp16-mixed": {"precision": "16-mixed"},
        "compile": {"compiled": True},
        "compile-blocks": {"compiled": "blocks"},
        "cuda-graphs": {"compiled": "graphs"},
        "channels-last": {"channels_last": True},
        "fused-qkv": {"fused_qkv": True},
        "deep-cache": {"deep_cache": 3},
        "guidance-band": {"guidance_band": (0.25, 0.75)},
        "no-refiner": {"refine": False},
        "two-sources": {"sources": 2},
        "three-sources": {"sources": 3},
        "checkpointing": {"checkpointing": True},
        "fused": {"fused": True},
        "flow-loss": {"flow_loss": True},
    }
)
"""By the word of ``--compare``: the fields of :class:`Setting` that it sets."""
ONLY = MappingProxyType(
    {
        **dict.fromkeys(("fused-qkv", "deep-cache", "guidance-band", "no-refiner"), "model"),
        **dict.fromkeys(("checkpointing", "fused", "flow-loss"), "train"),
    }
)
"""By the word: the one ``pgpis bench`` in which it changes anything."""


@dataclass(frozen=True)
class Setting:
    """One way to run a task; what is not set is as the recipe says."""

    name: str
    """Its words, as the user wrote them."""
    precision: str | None = None
    """As ``trainer.precision``."""
    tf32: bool | None = None
    """Whether a GPU may round the factors of float32's products to TF32; None: as PyTorch does, in convolutions."""
    compiled: Compilation | None = None
    """As ``step.compile_unet``."""
    channels_last: bool = False
    """As ``step.channels_last``, of tasks without a denoiser too."""
    fused_qkv: bool = False
    """As ``step.fuse_qkv``."""
    deep_cache: int | None = None
    """As ``sampling.deep_cache``."""
    guidance_band: tuple[float, float] | None = None
    """As ``sampling.guidance_band``."""
    refine: bool | None = None
    """As ``sampling.refine``."""
    sources: int = 1
    """Sources of each pair."""
    checkpointing: bool | None = None
    """As ``step.gradient_checkpointing``."""
    fused: bool = False
    """The optimiser's ``fused``."""
    flow_loss: bool = False
    """``step.flow_loss`` with its defaults."""

    @property
    def counted(self) -> Setting:
        """Return the setting whose FLOPs are counted in place of this one's: eager, and nothing is computed twice."""
        return replace(EAGER, checkpointing=False, sources=self.sources)

    def check(self, task: PersonImageTask) -> None:
        """Refuse what changes nothing in a task, before anything is timed.

        Raises:
            PgpisError: Names the setting, the word and why.
        """
        if self.sources > 1 and not any(spec.origin in PER_SOURCE for spec in task.input_specs.values()):
            self._refuse("two-sources" if self.sources == 2 else "three-sources", "this task reads no source")
        if not isinstance(task, DiffusionTask):
            if self.checkpointing or self.compiled or self.flow_loss:
                raise PgpisError(f"--compare {self.name}: a {type(task).__name__} has no denoiser")
            return
        sampling = task.sampling
        scales = {scale for scale in sampling.scales.values() if scale is not None}
        if self.guidance_band and len(scales) == 1 and max(scales) <= 1:
            self._refuse("guidance-band", f"guidance is {max(scales)}, and one branch runs in all steps")
        if self.deep_cache and sampling.num_inference_steps == 1:
            self._refuse("deep-cache", "the first step is whole, and there is no other")
        if self.refine is False and (getattr(task, "refiner", None) is None or not sampling.refine):
            self._refuse("no-refiner", "this model draws without one")
        if self.flow_loss and (task.step.flow_loss is not None or task.flow_port is None):
            reason = "the recipe has it" if task.step.flow_loss is not None else "the denoiser attends to no picture"
            self._refuse("flow-loss", reason)

    def _refuse(self, word: str, reason: str) -> NoReturn:
        raise PgpisError(f"--compare {self.name}: '{word}' changes nothing: {reason}", hint=f"leave {word} out")

    def apply_to(self, task: TaskT, device: torch.device) -> TaskT:
        """Return a copy of a task on a device, in this setting but for its precision."""
        torch.compiler.reset()
        if self.precision in ("bf16-true", "16-true"):
            task.frozen_hashes()  # else each copy would compute them
        own = copy.deepcopy(task).to(device)
        if self.channels_last:
            own.to(memory_format=torch.channels_last)
        if isinstance(own, DiffusionTask):
            own.step = self._step_of(own.step)
            own.save_memory_or_time(own.step)  # a copy is not compiled any more
            own.sampling = replace(own.sampling, **self._drawing)
        if self.fused:
            make = own.optimizer
            own.optimizer = lambda parameters: _fused(make(parameters))
        return own

    def _step_of(self, step: TrainingStep) -> TrainingStep:
        compiled = step.compile_unet if self.compiled is None else self.compiled
        checkpointing = step.gradient_checkpointing if self.checkpointing is None else self.checkpointing
        fused = self.fused_qkv or step.fuse_qkv
        flow = FlowLoss() if self.flow_loss else step.flow_loss
        return replace(
            step, compile_unet=compiled, gradient_checkpointing=checkpointing, fuse_qkv=fused, flow_loss=flow
        )

    @property
    def _drawing(self) -> dict[str, Any]:
        chosen = {"deep_cache": self.deep_cache, "guidance_band": self.guidance_band, "refine": self.refine}
        return {name: value for name, value in chosen.items() if value is not None}

    @contextmanager
    def products(self) -> Iterator[None]:
        """Round the factors of float32's products on a GPU as this setting says."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = (matmul.allow_tf32, cudnn.allow_tf32)
        if self.tf32 is not None:
            matmul.allow_tf32 = cudnn.allow_tf32 = self.tf32
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before

    def dtype(self, recipe: str, *, is_gpu: bool) -> str:
        """Return what products are computed in, as a key of the peaks; ``recipe`` is its ``trainer.precision``."""
        precision = str(self.precision or recipe)
        if precision.startswith(("bf16", "16")):
            return "bf16" if precision.startswith("bf16") else "fp16"
        # left alone, PyTorch's convolutions on a GPU take TF32, and they are much of the work
        may_round = torch.backends.cudnn.allow_tf32 if self.tf32 is None else self.tf32
        return "tf32" if is_gpu and may_round else "fp32"


EAGER = Setting("eager", compiled=False)


def read_settings(text: str, kind: Literal["model", "train"]) -> list[Setting]:
    """Read ``--compare``: settings between commas, each of words between plus signs.

    Args:
        text: The settings.
        kind: Which ``pgpis bench`` takes them.

    Raises:
        PgpisError: A word that is none, that is for the other kind, or two that exclude each other.
    """
    settings = []
    for name in text.split(","):
        fields: dict[str, Any] = {}
        for word in name.strip().split("+"):
            if word not in WORDS:
                raise PgpisError(f"--compare: no setting '{word}'{nearest(word, WORDS)}; there are {', '.join(WORDS)}")
            if (other := ONLY.get(word, kind)) != kind:
                raise PgpisError(f"--compare {name}: '{word}' changes nothing in bench {kind}", hint=f"bench {other}")
            if taken := fields.keys() & WORDS[word].keys():
                raise PgpisError(f"--compare {name}: two words set {' and '.join(sorted(taken))}")
            fields |= WORDS[word]
        settings.append(Setting(name.strip(), **fields))
    return settings


def _fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Make an optimiser anew as a fused one, over the same parameters."""
    more = {"foreach": None, "fused": True}
    taken = inspect.signature(type(optimizer)).parameters
    options = {name: value for name, value in optimizer.defaults.items() if name in taken} | more
    return type(optimizer)([{**group, **more} for group in optimizer.param_groups], **options)
