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
from pathlib import Path
from typing import Any

import yaml

from pgpis.aliases import current_class
from pgpis.cli.nulls import with_nulls
from pgpis.cli.recipes import describe, read_recipe
from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError
from pgpis.tasks.base import PersonImageTask

log = logging.getLogger(__name__)

EARLIER = {
    "dropping": "drop_all drop_fusion drop_image drop_pose drop_source drop_whole_batch",
    "sampling": "height width output_size num_inference_steps guidance_scale pose_guidance_scale images_per_pair "
    "sampling_scheduler",
    "schedule": "warmup_epochs decay_epochs decay_factor lr_scheduler",
    "step": "noise_offset snr_gamma face_loss clip_noise clip_std freeze_reference_tail gradient_checkpointing "
    "compile_unet",
    "conditioner": "source_size pose_hidden_channels token_hidden_dim position_interpolation pose_encoder use_face "
    "use_texture aggregation iuv_filter part_scale correspondence projection_dropout",
}
"""Options of a task by the group that they belong to today; most have kept their names."""
PREFIXES = re.compile("^(drop|sampling|projection)_")
OPTIONS = {
    **{name: f"{group}.{PREFIXES.sub('', name)}" for group, names in EARLIER.items() for name in names.split()},
    "resampler": "conditioner",
}
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
RECIPE = "--config="


def with_current_options(words: Sequence[str]) -> list[str]:
    """Replace what recipes and words call by earlier names, and log it in one line.

    Args:
        words: With recipes as ``--config=PATH`` or ``--config=TEXT``.

    Returns:
        The words; a recipe that extends another or is of an earlier version is given by its text.

    Raises:
        PgpisError: A recipe that is extended is not there, or an overlay comes before its recipe, or an option is gone
            that was set to another value, or set by its earlier name and by today's.
    """
    recipes = {word: read_recipe(word.removeprefix(RECIPE)) for word in words if word.startswith(RECIPE)}
    _refuse_overlays(words, recipes)
    names = _Names(_task_of(words, recipes))
    current = []
    remaining = itertools.pairwise([*words, ""])
    for word, following in remaining:
        option = OPTION.fullmatch(word)
        if word in recipes:
            path = "a recipe" if "\n" in word else word.removeprefix(RECIPE)
            changed = [names.replace_in(content, path) for content in recipes[word]]
            texts = [f"{RECIPE}{yaml.serialize(content)}" for content in recipes[word]]
            current += texts if len(texts) > 1 or any(changed) else [word]
        elif option is None:
            current.append(word)
        else:
            group, name, value = option.groups()
            today = names.today(group, name, (value or following).removeprefix("="))
            if today is not None:
                current.append(word if today == name else f"--model.init_args.{today}{value or ''}")
            elif not value and not following.startswith("--"):
                next(remaining, None)
    if names.replaced:
        pairs = ", ".join(f"{name} -> {today}" for name, today in names.replaced.items())
        log.info("names of an earlier version, and what they are today: %s", pairs)
    return with_nulls(current, names.options["model"])


class _Names:
    """Replaces earlier names by those of a task; notes in ``replaced`` what was replaced."""

    def __init__(self, task: type | None) -> None:
        self.options = {
            "model": fields_of_options(task) if task else {},
            "data": fields_of_options(PoseTransferDataModule),
        }
        self.replaced: dict[str, str] = {}

    def today(self, group: str, name: str, value: str) -> str | None:
        """Return today's name of an option of ``model`` or ``data``; None: it is gone.

        Raises:
            PgpisError: It is gone, and its value says something else than what is done today.
        """
        key = f"{group}.{name}"
        if name in self.options[group]:
            return name
        if key in FIXED:
            fixed, why = FIXED[key]
            if fixed is not None and not _is_same(value, fixed):
                raise PgpisError(f"{key} is {value}, and can no longer be set: {why}", hint="leave it out")
            self.replaced[key] = f"nothing ({why})"
            return None
        current = OPTIONS.get(name, "") if group == "model" else ""
        own_group, _, field = current.partition(".")
        fields = self.options["model"].get(own_group)
        if not fields or (field and field not in fields):
            return name
        self.replaced[name] = current
        return current

    def replace_in(self, content: yaml.MappingNode, recipe: str) -> bool:
        """Replace names in a recipe; return whether there were any.

        Raises:
            PgpisError: It sets an option by its earlier name and by today's; names ``recipe`` and both.
        """
        changed = False
        for node in _mappings(content):
            path = entry(node, "class_path")
            current = _current_path(str(path.value)) if isinstance(path, yaml.ScalarNode) else ""
            if path is not None and current not in ("", path.value):
                self.replaced[path.value] = path.value = current
                changed = True
        for group, options in {
            "model": entry(entry(content, "model"), "init_args"),
            "data": entry(content, "data"),
        }.items():
            if not isinstance(options, yaml.MappingNode):
                continue
            for key, value in list(options.value):
                today = self.today(group, str(key.value), str(value.value))
                if today != str(key.value):
                    options.value.remove((key, value))
                    _put(options, str(key.value), today, value, recipe)
                    changed = True
        return changed


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


def _refuse_overlays(words: Sequence[str], recipes: Mapping[str, Sequence[yaml.MappingNode]]) -> None:
    """Refuse a recipe that sets options of a model before any word or recipe says which model it is."""
    for word in words:
        if word.partition("=")[0] in ("--model", "--model.class_path"):
            return
        for content in recipes.get(word, ()):
            model = entry(content, "model")
            if isinstance(model, yaml.ScalarNode) or entry(model, "class_path") is not None:
                return
            path = word.removeprefix(RECIPE)
            if entry(model, "init_args") is not None and "\n" not in path:
                over = re.search(r"\(over ([\w/]+\.yaml)", describe(Path(path)))
                raise PgpisError(
                    f"{path} is an overlay: it sets options of a model and does not say which, by model.class_path",
                    hint=f"name the recipe that it belongs to before it: --config {over[1] if over else 'RECIPE'} "
                    f"--config {path}",
                )


def _task_of(words: Sequence[str], recipes: Mapping[str, Sequence[yaml.MappingNode]]) -> type | None:
    """Return the task that the last word about it names; None where it cannot be imported."""
    task = ""
    for word, following in itertools.pairwise([*words, ""]):
        key, _, value = word.partition("=")
        if key in ("--model", "--model.class_path"):
            task = value or following
        for content in recipes.get(word, ()):
            model = entry(content, "model")
            path = entry(model, "class_path") if isinstance(model, yaml.MappingNode) else model
            task = str(path.value) if isinstance(path, yaml.ScalarNode) else task
    if "." not in task:
        return next((each for each in subclasses(PersonImageTask) if each.__name__ == task), None)
    try:
        named = load_class(_current_path(task))
    except Exception:  # noqa: BLE001  the config system imports it again, and says why it cannot
        return None
    return named if isinstance(named, type) else None


def load_class(path: str) -> Any:
    """Import what ``MODULE.NAME`` names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


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
    for entry in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from _mappings(entry[1] if isinstance(entry, tuple) else entry)


def entry(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key; None: it has none, or this is not a mapping."""
    entries = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for own, value in entries if own.value == key), None)


def _put(node: yaml.MappingNode, earlier: str, name: str | None, value: yaml.Node, recipe: str) -> None:
    """Put a value under ``GROUP.FIELD``, or all entries of a mapping under ``GROUP``; None: nowhere.

    Raises:
        PgpisError: There is a value already; names both names.
    """
    group, _, field = (name or "").partition(".")
    if not field:
        for own, each in value.value if group and isinstance(value, yaml.MappingNode) else ():
            _put(node, f"{earlier}.{own.value}", f"{group}.{own.value}", each, recipe)
        return
    target = entry(node, group)
    if not isinstance(target, yaml.MappingNode):
        target = yaml.MappingNode("tag:yaml.org,2002:map", [])
        node.value.append((yaml.ScalarNode("tag:yaml.org,2002:str", group), target))
    if entry(target, field) is not None:
        message = f"{recipe} sets one option by two names: {earlier}, of an earlier version, and {name}"
        raise PgpisError(message, hint=f"leave out {earlier}")
    target.value.append((yaml.ScalarNode("tag:yaml.org,2002:str", field), value))


def _is_same(value: str, today: str) -> bool:
    try:
        return float(value) == float(today)
    except ValueError:
        return value.lower() == today.lower()
