"""Turning jsonargparse's tree of attempts into the one line that names key, value and what was expected."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable

from lightning.pytorch import Trainer

from pgpis.cli.renamed import options_of
from pgpis.data import PoseTransferDataModule
from pgpis.errors import nearest

GROUPS = {"trainer": Trainer, "data": PoseTransferDataModule}
TOP_LEVEL = ("config", "seed_everything", "trainer", "model", "data", "ckpt_path", "print_config", "verbose")


def explain(message: str) -> str:
    """Return one line for a parser error: the key, the value, what was expected or the closest valid name."""
    try:
        return _explain(message)
    except Exception:  # noqa: BLE001  another library's prose: where it has changed, it is told as it is
        return _one_line(message)


def _one_line(message: str) -> str:
    return " ".join(line.strip() for line in message.splitlines() if line.strip())


def _explain(message: str) -> str:
    key = ".".join(_keys(message))
    unknown = re.search(r"Option '([\w.]+)' is not accepted", message)
    if unknown:
        path = re.findall(r"given class_path '([\w.]+)'", message)[-1]
        name = unknown.group(1)
        return f"{key}: {path.rsplit('.', 1)[-1]} has no option '{name}'{nearest(name, _options(_load(path)))}"
    problem = _class_problem(message)
    if problem:
        return f"{key}: {problem}"
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
    return _one_line(message)


def _unknown_key(key: str) -> str:
    group, _, rest = key.partition(".")
    if group in GROUPS and rest:
        name = rest.split(".", 1)[0]
        return f"no such key '{key}'{nearest(name, _options(GROUPS[group]))}"
    return f"no such key '{key}'{nearest(group, TOP_LEVEL)}"


def hint_of(message: str, verb: str) -> str:
    """Return the command that lists what could have been given where a parser error arose."""
    if re.search(rf"arguments are required: (?:{verb}\.)?model$", message):
        return f"name a recipe: pgpis {verb} --config fpdm.yaml; 'pgpis configs' lists them"
    lacking = re.search(r"the following arguments are required: (\w+)$", message, re.MULTILINE)
    if lacking:
        return f"--{'.'.join(_keys(message))}.init_args.{lacking.group(1)}=VALUE"
    if "No module named" in message:
        return "PYTHONPATH=FOLDER, with the folder that holds the module, or install its package"
    if re.search(r"Parser key \"model\b|[Kk]ey ['\"]model\.|--model", message):
        path = (re.findall(r"class_path '([\w.]+)'", message) or ["CLASS"])[-1]
        name = path.rsplit(".", 1)[-1] if path.startswith("pgpis.") else path
        return f"'pgpis {verb} --model.help {name}' lists its options"
    return f"'pgpis {verb} --help' shows what can be given, 'pgpis {verb} --help-all' every key"


def _class_problem(message: str) -> str | None:
    """Return what is wrong with a class that was named, or with its arguments as a whole."""
    for path, reason in re.findall(r"Problem with given class_path '([\w.]+)':\n\s+(.+)", message):
        if not reason.startswith(("Parser key", "Option")):
            return f"{path}: {_import_problem(path) or reason}"
    stranger = re.search(r"Import path ([\w.]+) does not correspond to a subclass of (\w+)", message)
    if stranger:
        return f"{stranger.group(1)} is not a {stranger.group(2)}"
    value = re.search(
        r"Given value: (?:{'class_path': ')?((?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*)(?:$|')", message, re.MULTILINE
    )
    base = re.search(r"Subtypes: \[<class '[\w.]*?(\w+)'>", message)
    if value and base and "Parser key" not in message.partition("Errors:")[2]:
        return f"{value[1]}: {_import_problem(value[1]) or f'is not a {base[1]}'}"
    return None


def _keys(message: str) -> list[str]:
    return re.findall(r"Parser key \"([\w.]+)\"", message)


def _import_problem(path: str) -> str | None:
    """Return why a class cannot be imported; None: it can."""
    module, _, name = path.rpartition(".")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  a module may raise anything while it is imported
        return f"{module} cannot be imported: {type(error).__name__}: {error}"
    names = [own for own, value in vars(loaded).items() if isinstance(value, type)]
    return None if hasattr(loaded, name) else f"{module} has no class '{name}'{nearest(name, names)}"


def _load(path: str) -> type:
    module, _, name = path.rpartition(".")
    loaded: type = getattr(importlib.import_module(module), name)
    return loaded


def _options(of: type) -> Iterable[str]:
    for name, fields in options_of(of).items():
        yield from (f"{name}.{field}" for field in fields) if fields else (name,)


def _subclass_names(base: type) -> set[str]:
    names = {base.__name__}
    children: list[type] = base.__subclasses__()
    for child in children:
        names |= _subclass_names(child)
    return names
