"""Turning jsonargparse's tree of attempts into the one line that names key, value and what was expected.

Its exceptions have no fields: which key, class or value they are about stands in their sentences alone. ``PROSE`` is
the one place that knows these; what could have been given is asked from the classes.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from pgpis.cli.recipes import TOP_LEVEL
from pgpis.cli.renamed import fields_of_options, load_class, subclasses
from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError, manual, nearest
from pgpis.refusals import refusal_of

LEARNING_RATE = "optimizer.init_args.lr"
"""Where the learning rate of a task is, which has many names."""
PIPELINE = "pipeline"
"""Option of the tasks that draw with what was exported; ``--pipeline`` sets it."""
GROUPS = {"trainer": Trainer, "data": PoseTransferDataModule}
PROSE = {
    "key": r"Parser key \"([\w.]+)\"(?!: Unable)",
    "class": r"given class_path '([\w.]+)'",
    "class of options": r"Problem with given class_path '([\w.]+)'",
    "failing class": r"Problem with given class_path '([\w.]+)':\n\s+(?=\S)(?!Parser key|Option)(.+)",
    "option": r"Option '([\w.]+)' is not accepted",
    "nested option": r"unrecognized arguments: --([\w.]+)",
    "option of a group": r"Group '([\w.]+)' does not accept option '([\w.]+)'",
    "unknown class": r"Expected a dot import path string: (\S+)",
    "stranger": r"Import path ([\w.]+) does not correspond to a subclass of (\w+)",
    "base": r"Subtypes: \[(?:list\[|<class '|typing\.Callable\[\[.*?\], (?:typing\.Union\[)?)?([\w.]+)",
    "class as value": r"Given value: (?:{'class_path': ')?((?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*)(?:$|')",
    "maker": r"Type typing\.Callable\[\[.*?\], (?:typing\.Union\[)?([\w.]+).*: (?:Expected '.* subclass|.*[Mm]odule)",
    "given": r"(?:Got value|Given value): (?:Namespace\(class_path=')?([\w.]+)",
    "file": r"Unable to load config \"(.+)\"",
    "type": r"Expected an? (?!dot import|path but)(?:<class ')?(.+?)(?:'>)?(?:\. Got value: .*)?$",
    "value": r"(?:Got value|Given value): (.+?)(?:\. Got value: .*)?$",
    "missing": r"the following arguments are required: ([\w.]+)$",
    "stray": r"(?:unrecognized arguments: --|[Kk]ey ['\"])([\w.]+)",
}
NO_CHOICE = ("NoneType", "pgpis.tasks.base.PersonImageTask")
"""Types that nobody spells out."""


def explained(error: ArgumentError, verb: str) -> PgpisError:
    """Return one line for a parser error, and the command that lists what could have been given."""
    text = str(error)
    try:
        message = _explain(text)
    except Exception:  # noqa: BLE001  another library's prose: where it has changed, it is told as it is
        message = _one_line(text)
    return PgpisError(message, hint=_hint(text, verb))


@contextmanager
def trainer_explained(verb: str) -> Iterator[None]:
    """Turn what Lightning refuses in the settings of a trainer into the error that says so.

    Raises:
        PgpisError: A value of the trainer is wrong.
    """
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        hint = f"'pgpis {verb} --help-all' describes every key of the trainer"
        raise PgpisError(f"trainer: {_one_line(str(error))}", hint=hint) from error


@contextmanager
def objects_explained(parser: LightningArgumentParser, trainer: Namespace | None, verb: str) -> Iterator[None]:
    """Turn what a logger, a callback or the like of the trainer raises when it is made into the error that names it.

    jsonargparse tells it among the types that the key could have had instead.

    Args:
        parser: Makes the objects while the block runs.
        trainer: The trainer's settings.
        verb: For the hint.

    Raises:
        PgpisError: One cannot be made.
    """
    failed: list[tuple[type, Exception]] = []

    def make(kind: type, *args: Any, **options: Any) -> Any:
        try:
            return kind(*args, **options)
        except Exception as error:  # of somebody else's class; noted and raised again
            if not (isinstance(error, PgpisError) or (isinstance(error, OSError) and refusal_of(error))):
                failed.append((kind, error))
            raise

    with warnings.catch_warnings(action="ignore"):  # deprecated, and what Lightning itself calls
        parser.add_instantiator(make, object)
    try:
        yield
    except Exception as error:  # jsonargparse's own, whatever the object raised
        if failed and trainer is not None:
            kind, reason = failed[-1]
            for key, path in _classes("trainer", trainer.as_dict()):
                if load_class(path) is kind:
                    raise _unmade(key, kind, reason, verb) from error
        raise


def _classes(key: str, settings: Any) -> Iterator[tuple[str, str]]:
    """Yield the path of each class in settings, and the key that it stands at."""
    for each in settings if isinstance(settings, list) else [settings]:
        for name, value in each.items() if isinstance(each, dict) else ():
            yield from [(key, value)] if name == "class_path" else _classes(f"{key}.{name}", value)


def _unmade(key: str, kind: type, reason: Exception, verb: str) -> PgpisError:
    missing = re.search(r"'([\w-]+)", str(reason)) if isinstance(reason, ModuleNotFoundError) else None
    if missing:  # "No module named 'x.y'", or Lightning's "Requirement 'x>=1' not met"
        return PgpisError(f"{key}: {kind.__name__} needs {missing[1]}", hint=f"pip install {missing[1]}")
    told = _one_line(str(reason)) or type(reason).__name__
    return PgpisError(f"{key}: {kind.__name__}: {told}", hint=f"'pgpis {verb} --help-all' describes every key")


def _all(name: str, text: str) -> list[Any]:
    return re.findall(PROSE[name], text, re.MULTILINE)


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _explain(text: str) -> str:
    keys = _all("key", text)
    if not keys and (stray := _all("stray", text)):
        return _unknown_key(stray[0])
    key = ".".join(keys)
    unknown_options = _unknown_options(text)
    if unknown_options and (paths := _all("class", text) or _all("class of options", text)):
        option, path = unknown_options[0], paths[-1]
        # pipeline_name is spelt alike, and takes no weights
        is_pipeline = option == PIPELINE
        end = ", so that it cannot draw with what was exported" if is_pipeline else _closest(option, load_class(path))
        return f"{key}: {path.rsplit('.', 1)[-1]} has no option '{option}'{end}"
    if problem := _class_problem(text):
        return f"{key}: {problem}"
    if (unknown := _all("unknown class", text)) and "." in _all("base", text)[-1]:
        base = load_class(_all("base", text)[-1])
        known = {each.__name__ for each in (base, *subclasses(base))}
        return f"{key}: no class '{unknown[-1]}'{nearest(unknown[-1], known)}"
    types = [each.replace("typing.", "") for each in dict.fromkeys(_all("type", text)) if each not in NO_CHOICE]
    value = _all("value", text)
    if types and value:
        return f"{key}: expected {' or '.join(types)}, got {value[0]}"
    return _one_line(text)


def _unknown_options(text: str) -> list[str]:
    options = _all("option", text) or _all("nested option", text)
    return options + [".".join(words) for words in _all("option of a group", text)]


def _unknown_key(key: str) -> str:
    group, _, rest = key.partition(".")
    if group in GROUPS and rest:
        return f"no such key '{key}'{_closest(rest, GROUPS[group])}"
    return f"no such key '{key}'{nearest(group, TOP_LEVEL)}"


def _closest(name: str, of: type) -> str:
    """Return ``; did you mean 'x'?`` for the option of a class that is meant, or an empty string.

    The same name in another group comes before one that is spelt alike, in the group that is named before all.
    """
    options = list(_options(of))
    group, _, field = name.rpartition(".")
    same = [option for option in options if option.rpartition(".")[2] == field]
    if same:
        return f"; did you mean '{same[0]}'?"
    if field in ("lr", "learning_rate") and "optimizer" in options:
        return f"; did you mean '{LEARNING_RATE}'?"
    own = [option for option in options if group and option.startswith(f"{group}.")]
    return nearest(name, own) or nearest(field, options) or nearest(name.partition(".")[0], options)


def _class_problem(text: str) -> str | None:
    """Return what is wrong with a class or file that was named, or with a class's arguments as a whole."""
    for file in _all("file", text):
        if not Path(file).is_file():
            return f"'{file}' is neither its options nor a YAML file of them"
    given, makers = _all("given", text), _all("maker", text)
    if given and makers:
        return _wrong_class(given[0], makers[0])
    for path, reason in _all("failing class", text):
        return f"{path}: {_import_problem(path) or reason}"
    for path, base in _all("stranger", text):
        return f"{path} is not a {base}"
    values, bases = _all("class as value", text), _all("base", text)
    if values and bases and not _all("key", text.partition("Errors:")[2]):
        return _wrong_class(values[0], bases[0])
    return None


def _wrong_class(path: str, base: str) -> str:
    problem = _import_problem(path)
    return f"{path}: {problem}" if problem else f"{path} is not a {base.rpartition('.')[2]}"


def _hint(text: str, verb: str) -> str:
    """Return the command that mends an error, or lists what can be given where it arose."""
    missing, keys = _all("missing", text), _all("key", text)
    if missing and missing[0] in ("model", f"{verb}.model"):
        return f"name a recipe: pgpis {verb} --config fpdm.yaml; 'pgpis configs' lists them"
    if missing:
        return f"--{'.'.join(keys)}.init_args.{missing[0]}=VALUE"
    if "No module named" in text:
        return "PYTHONPATH=FOLDER, with the folder that holds the module, or install its package"
    if _unknown_options(text) == [PIPELINE]:
        return f"--config RECIPE --ckpt_path FILE; {manual('adding-a-model')} shows a task that has the option"
    if ((keys or _all("stray", text) or [""])[0]).partition(".")[0] == "model":
        path = (_all("class", text) or ["CLASS"])[-1]
        name = path.rsplit(".", 1)[-1] if path.startswith("pgpis.") else path
        return f"'pgpis {verb} --model.help {name}' lists its options"
    return f"'pgpis {verb} --help' shows what can be given, 'pgpis {verb} --help-all' every key"


def _import_problem(path: str) -> str | None:
    """Return why a class cannot be imported; None: it can."""
    module, _, name = path.rpartition(".")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  a module may raise anything while it is imported
        return f"{module} cannot be imported: {type(error).__name__}: {error}"
    names = [own for own, value in vars(loaded).items() if isinstance(value, type)]
    return None if hasattr(loaded, name) else f"{module} has no class '{name}'{nearest(name, names)}"


def _options(of: type) -> Iterable[str]:
    for name, fields in fields_of_options(of).items():
        yield from (f"{name}.{field}" for field in fields) if fields else (name,)
