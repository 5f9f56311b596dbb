"""Options of earlier versions: recipes and command lines that name them still work, and are told today's names."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import logging
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from pgpis.aliases import current_class
from pgpis.cli.recipes import read_recipe
from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError
from pgpis.tasks.base import PersonImageTask

log = logging.getLogger(__name__)

OPTIONS = {
    **{f"drop_{name}": f"dropping.{name}" for name in ("all", "fusion", "image", "pose", "source", "whole_batch")},
    **{
        name: f"sampling.{name}"
        for name in (
            "height", "width", "output_size", "num_inference_steps", "guidance_scale", "pose_guidance_scale",
            "images_per_pair",
        )
    },
    "sampling_scheduler": "sampling.scheduler",
    **{
        name: f"schedule.{name}" for name in ("warmup_epochs", "decay_epochs", "decay_factor", "lr_scheduler")
    },
    **{
        name: f"step.{name}"
        for name in (
            "noise_offset", "snr_gamma", "face_loss", "clip_noise", "clip_std", "freeze_reference_tail",
            "gradient_checkpointing", "compile_unet",
        )
    },
    **{
        name: f"conditioner.{name}"
        for name in (
            "source_size", "pose_hidden_channels", "token_hidden_dim", "position_interpolation", "pose_encoder",
            "use_face", "use_texture", "aggregation", "iuv_filter", "part_scale", "correspondence",
        )
    },
    "projection_dropout": "conditioner.dropout",
    "resampler": "conditioner",
}  # fmt: skip
"""Options of a task: the earlier name, and today's."""
FIXED: Mapping[str, tuple[str | None, str]] = {
    "model.save_test_images": ("true", "test writes its pictures"),
    "model.l1_weight": ("1e-4", "the weight of the L1 term is 1e-4"),
    "model.kl_weight": ("1e-6", "the weight of the KL divergence is 1e-6"),
    "model.contrast_weight": ("1", "InfoNCE counts once"),
    "model.part_weight": ("1", "the errors of body parts count once"),
    "model.colour_weight": ("4", "the weight of the error of colours is 4"),
    "data.pin_memory": (None, "memory is pinned where there is a GPU"),
}
"""Options that are gone: the value that they have today, and what that means; None: whatever it was."""
OPTION = re.compile(r"--(model|data)\.(?:init_args\.)?(\w+)([.=+].*)?", re.DOTALL)
MAP = "tag:yaml.org,2002:map"
TEXT = "tag:yaml.org,2002:str"


def with_current_options(words: Sequence[str]) -> list[str]:
    """Replace what recipes and words call by earlier names, and log it in one line.

    Args:
        words: With recipes as ``--config=PATH`` or ``--config=TEXT``.

    Returns:
        The words; a recipe that extends another or is of an earlier version is given by its text.

    Raises:
        PgpisError: A recipe that is extended is not there, or an option is gone that was set to another value.
    """
    recipes = {word: read_recipe(word.removeprefix("--config=")) for word in words if _is_recipe(word)}
    names = _Names(_task_of(words, recipes))
    current = []
    remaining = iter(words)
    for word in remaining:
        if _is_recipe(word):
            changed = [names.replace_in(content) for content in recipes[word]]
            texts = [f"--config={yaml.serialize(content)}" for content in recipes[word]]
            current += texts if len(texts) > 1 or any(changed) else [word]
            continue
        option = OPTION.fullmatch(word)
        if option is None or option[2] in names.options[option[1]]:
            current.append(word)
        elif f"{option[1]}.{option[2]}" in FIXED:
            value = option[3].removeprefix("=") if option[3] else next(remaining, "")
            names.refuse_other_values(f"{option[1]}.{option[2]}", value)
        else:
            current.append(names.replace_in_word(word, option))
    names.report()
    return current


def _is_recipe(word: str) -> bool:
    return word.startswith("--config=")


class _Names:
    """Replaces earlier names by those of a task; notes what was replaced."""

    def __init__(self, task: type | None) -> None:
        self.options = {
            "model": fields_of_options(task) if task else {},
            "data": fields_of_options(PoseTransferDataModule),
        }
        self.replaced: dict[str, str] = {}

    def today(self, name: str) -> str | None:
        """Return today's name of a task's option; None: it is not an earlier name of one."""
        current = OPTIONS.get(name)
        if current is None or name in self.options["model"]:
            return None
        group, _, field = current.partition(".")
        fields = self.options["model"].get(group, ())
        return current if field in fields or (fields and not field) else None

    def replace_in_word(self, word: str, option: re.Match[str]) -> str:
        current = self.today(option[2]) if option[1] == "model" else None
        if current is None:
            return word
        self.replaced[option[2]] = current
        return f"--model.init_args.{current}{option[3] or ''}"

    def replace_in(self, content: yaml.MappingNode) -> bool:
        """Replace names in a recipe; return whether there were any."""
        before = len(self.replaced)
        changed = sum(self._replace_class(node) for node in _mappings(content))
        for group in ("model", "data"):
            node = _entry(content, group)
            node = _entry(node, "init_args") if group == "model" else node
            if not isinstance(node, yaml.MappingNode):
                continue
            for key, value in list(node.value):
                current = self.today(key.value) if group == "model" else None
                if current is not None:
                    node.value.remove((key, value))
                    changed += _put(node, current, value)
                    self.replaced[key.value] = current
                elif f"{group}.{key.value}" in FIXED and key.value not in self.options[group]:
                    self.refuse_other_values(f"{group}.{key.value}", str(value.value))
                    node.value.remove((key, value))
                    changed += 1
        return bool(changed) or len(self.replaced) > before

    def _replace_class(self, node: yaml.MappingNode) -> bool:
        path = _entry(node, "class_path")
        current = _current_path(str(path.value)) if isinstance(path, yaml.ScalarNode) else None
        if path is None or current in (None, path.value):
            return False
        self.replaced[path.value] = path.value = current
        return True

    def refuse_other_values(self, name: str, value: str) -> None:
        """Refuse an option that is gone, unless it says what is done today.

        Raises:
            PgpisError: It says something else.
        """
        today, why = FIXED[name]
        if today is not None and not _is_same(value, today):
            raise PgpisError(f"{name} is {value}, and can no longer be set: {why}", hint="leave it out")
        self.replaced[name] = f"nothing ({why})"

    def report(self) -> None:
        """Log what was replaced."""
        if self.replaced:
            pairs = ", ".join(f"{name} -> {current}" for name, current in self.replaced.items())
            log.info("names of an earlier version, and what they are today: %s", pairs)


def fields_of_options(described: type) -> dict[str, tuple[str, ...]]:
    """Return the options of a class: by name, the fields of those that are dataclasses."""
    options: dict[str, tuple[str, ...]] = {}
    for each in described.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(each.__init__).parameters.values()  # type: ignore[misc]
        try:
            hints = typing.get_type_hints(each.__init__)  # type: ignore[misc]
        except Exception:  # noqa: BLE001  annotations of somebody else's class may name anything
            hints = {}
        for parameter in parameters:
            hint: Any = hints.get(parameter.name)
            fields = dataclasses.fields(hint) if dataclasses.is_dataclass(hint) else ()
            options.setdefault(parameter.name, tuple(field.name for field in fields))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return options


def _task_of(words: Sequence[str], recipes: Mapping[str, Sequence[yaml.MappingNode]]) -> type | None:
    """Return the task that the last word about it names; None where it cannot be imported."""
    task = None
    for word, following in itertools.pairwise([*words, ""]):
        key, _, value = word.partition("=")
        if key in ("--model", "--model.class_path"):
            task = value or following
        for content in recipes.get(word, ()):
            model = _entry(content, "model")
            path = _entry(model, "class_path") if isinstance(model, yaml.MappingNode) else model
            task = str(path.value) if isinstance(path, yaml.ScalarNode) else task
    return None if task is None else _class_named(task)


def _class_named(name: str) -> type | None:
    if "." not in name:
        return next((each for each in subclasses(PersonImageTask) if each.__name__ == name), None)
    module, _, short = _current_path(name).rpartition(".")
    try:
        named = getattr(importlib.import_module(module), short)
    except Exception:  # noqa: BLE001  the config system imports it again, and says why it cannot
        return None
    return named if isinstance(named, type) else None


def _current_path(path: str) -> str:
    module, _, name = path.rpartition(".")
    return ".".join(current_class(module, name)) if module else path


def subclasses(base: type) -> Iterator[type]:
    """Yield all classes that are derived from one."""
    derived: list[type] = base.__subclasses__()
    for each in derived:
        yield each
        yield from subclasses(each)


def _mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)


def _entry(node: yaml.Node | None, key: str) -> yaml.Node | None:
    entries = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for own, value in entries if own.value == key), None)


def _put(node: yaml.MappingNode, name: str, value: yaml.Node) -> int:
    """Put a value under ``GROUP.FIELD``, or all entries of a mapping under ``GROUP``."""
    group, _, field = name.partition(".")
    target = _entry(node, group)
    if not isinstance(target, yaml.MappingNode):
        target = yaml.MappingNode(MAP, [])
        node.value.append((yaml.ScalarNode(TEXT, group), target))
    if field:
        target.value.append((yaml.ScalarNode(TEXT, field), value))
    elif isinstance(value, yaml.MappingNode):
        target.value.extend(value.value)
    return 1


def _is_same(value: str, today: str) -> bool:
    try:
        return float(value) == float(today)
    except ValueError:
        return value.lower() == today.lower()
