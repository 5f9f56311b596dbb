"""Turning jsonargparse's tree of attempts into the one line that names key, value and what was expected."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable

from lightning.pytorch import Trainer

from pgpis.data import PoseTransferDataModule
from pgpis.errors import nearest

GROUPS = {"trainer": Trainer, "data": PoseTransferDataModule}
TOP_LEVEL = ("config", "seed_everything", "trainer", "model", "data", "ckpt_path", "print_config", "verbose")


def explain(message: str) -> str:
    """Return one line for a parser error: the key, the value, what was expected or the closest valid name."""
    key = ".".join(re.findall(r"Parser key \"([\w.]+)\"", message))
    unknown = re.search(r"Option '([\w.]+)' is not accepted", message)
    if unknown:
        path = re.findall(r"given class_path '([\w.]+)'", message)[-1]
        name = unknown.group(1)
        return f"{key}: {path.rsplit('.', 1)[-1]} has no option '{name}'{nearest(name, _options(_load(path)))}"
    if "Expected a dot import path string" in message:
        name = message.rsplit("Given value: ", 1)[-1].strip()
        base = _load(re.findall(r"Subtypes: \[<class '([\w.]+)'>", message)[-1])
        return f"{key}: no class '{name}'{nearest(name, _subclass_names(base))}"
    stray = re.search(r"(?:unrecognized arguments: --|[Kk]ey ['\"])([\w.]+)", message)
    if stray and not key:
        return _unknown_key(stray.group(1))
    expected = dict.fromkeys(
        re.sub(r"<class '([\w.]+)'>", r"\1", text)
        for text in re.findall(r"Expected an? (.+?)(?:\. Got value: .*)?$", message, re.MULTILINE)
        if "path string" not in text
    )
    value = re.findall(r"(?:Got value|Given value): (.+)", message)
    if key and expected and value:
        wanted = [text for text in expected if text not in ("NoneType", "pgpis.tasks.base.PersonImageTask")]
        return f"{key}: expected {' or '.join(wanted).replace('typing.', '')}, got {value[0]}"
    return " ".join(line.strip() for line in message.splitlines() if line.strip())


def _unknown_key(key: str) -> str:
    group, _, rest = key.partition(".")
    if group in GROUPS and rest:
        name = rest.split(".", 1)[0]
        return f"no such key '{key}'{nearest(name, _options(GROUPS[group]))}"
    return f"no such key '{key}'{nearest(group, TOP_LEVEL)}"


def _load(path: str) -> type:
    module, _, name = path.rpartition(".")
    loaded: type = getattr(importlib.import_module(module), name)
    return loaded


def _options(of: type) -> Iterable[str]:
    return inspect.signature(of).parameters


def _subclass_names(base: type) -> set[str]:
    names = {base.__name__}
    children: list[type] = base.__subclasses__()
    for child in children:
        names |= _subclass_names(child)
    return names
