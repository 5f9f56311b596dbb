"""Renaming tensors by rules; a tensor that no rule names is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from pgpis.errors import PgpisError


@dataclass(frozen=True)
class Rule:
    """What becomes of tensors whose name starts with ``official``, which ends with a dot."""

    official: str

    def __post_init__(self) -> None:
        # without the dot, "unet" would also take "unet_ema.conv_in.weight"
        if not self.official.endswith("."):
            raise ValueError(f"prefix '{self.official}' must end with a dot")


@dataclass(frozen=True)
class Rename(Rule):
    """Tensors whose name starts with ``official`` belong to ``component``, under ``ours`` and the rest of the name."""

    component: str
    ours: str = ""


@dataclass(frozen=True)
class Duplicate(Rule):
    """Tensors whose name starts with ``official`` repeat those that start with ``original``.

    A duplicate is dropped if it equals its original to the bit, takes its place if there is none, and is an error
    otherwise.
    """

    original: str

    def __str__(self) -> str:
        return f"{self.official}* repeats {self.original}*"


@dataclass
class KeyReport:
    """What became of each tensor of a file."""

    renamed: dict[str, str] = field(default_factory=dict)
    """``component/name`` by official name."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Why, by official name."""


def apply_rules(
    state_dict: Mapping[str, torch.Tensor], rules: Sequence[Rule], *, source: str = "the state dict"
) -> tuple[dict[str, dict[str, torch.Tensor]], KeyReport]:
    """Sort tensors into components.

    Args:
        state_dict: Tensors by official name; meta tensors are compared by shape and dtype only.
        rules: The longest prefix that fits a name decides.
        source: Where the tensors come from, for error messages.

    Returns:
        State dict of each component that occurs, and what became of each tensor.

    Raises:
        PgpisError: A name that no rule fits, two tensors for one name, or a duplicate that differs.
    """
    ordered = sorted(rules, key=lambda rule: -len(rule.official))
    unknown = [name for name in state_dict if _rule(name, ordered) is None]
    if unknown:
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise PgpisError(f"{source}: {len(unknown)} of {len(state_dict)} tensors have no known name: {shown}")
    components: dict[str, dict[str, torch.Tensor]] = {}
    report = KeyReport()
    for name, tensor in state_dict.items():
        original = _original(name, ordered)
        if original != name and original in state_dict:
            if not _same(tensor, state_dict[original]):
                raise PgpisError(f"{source}: '{name}' should equal '{original}', but differs from it")
            report.dropped[name] = str(_rule(name, ordered))
            continue
        rule = _rule(original, ordered)
        if not isinstance(rule, Rename):
            raise PgpisError(f"{source}: no rule says where '{original}' belongs")
        ours = rule.ours + original.removeprefix(rule.official)
        component = components.setdefault(rule.component, {})
        if ours in component:
            raise PgpisError(f"{source}: two tensors for {rule.component}/{ours}, one of them is '{name}'")
        component[ours] = tensor
        report.renamed[name] = f"{rule.component}/{ours}"
    return components, report


def _rule(name: str, ordered: Sequence[Rule]) -> Rule | None:
    return next((rule for rule in ordered if name.startswith(rule.official)), None)


def _original(name: str, ordered: Sequence[Rule]) -> str:
    """Follow duplicates to the name of their original; each rule is followed once."""
    for _ in ordered:
        rule = _rule(name, ordered)
        if not isinstance(rule, Duplicate):
            break
        name = rule.original + name.removeprefix(rule.official)
    return name


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first is second:
        return True
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.is_meta or second.is_meta:
        return True
    # bytes, so that NaN equals itself
    return torch.equal(first.contiguous().view(-1).view(torch.uint8), second.contiguous().view(-1).view(torch.uint8))
