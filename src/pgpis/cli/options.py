"""Options of a verb: read from the signature of the function that does it, and told by its docstring.

A parameter that can be given by position is a word, one that cannot is an option: ``batch_size`` is ``--batch-size``. A
settings dataclass stands for its fields, ``*words`` for what is left, which are keys of a recipe. ``Annotated`` adds
what argparse should know beside; a ``prefix`` goes before the names of a dataclass's fields, ``short`` has more names.

jsonargparse, which reads recipes, is not asked: it takes values for YAML, and a folder may be called ``[a]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser

from pgpis.cli.recipes import strays_in
from pgpis.errors import PgpisError, nearest

Settings = TypeVar("Settings")
_GIVEN = "_given"
"""Attribute of a settings dataclass beside its fields: which of them were on the command line."""


@dataclass(frozen=True)
class Option:
    """One option or word of a verb."""

    place: tuple[str, ...]
    """Parameter, and where that is a dataclass, field."""
    flag: str
    """As it is written: ``--batch-size``, or the name of a word."""
    hint: Any
    default: Any
    """None where a factory makes it, or none is needed."""
    required: bool
    text: str
    """What it means."""
    more: Mapping[str, Any]
    """For argparse."""

    @property
    def help(self) -> str:
        """What it means, and its default."""
        says_nothing = any(self.default is each for each in (None, False, ())) or callable(self.default)
        if says_nothing or self.text.endswith("]"):
            return self.text
        return f"{self.text} [{_written(self.hint, self.default)}]"


def options_of(
    owner: Callable[..., Any],
    place: tuple[str, ...] = (),
    prefix: str | None = None,
    shared: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Option]:
    """List the options of a function, or of a dataclass.

    Args:
        owner: The function or class.
        place: Where the dataclass is in the function that is called.
        prefix: Before the names of its fields; None: ``owner`` is a function, whose parameters may be words.
        shared: What argparse should know of all of them, as the ``group`` that they are shown in.
    """
    is_plain_class = isinstance(owner, type) and not dataclasses.is_dataclass(owner)
    hints = get_type_hints(owner.__init__ if is_plain_class else owner, include_extras=True)
    texts = documentation(owner)
    for name, default, required, is_word in _parameters(owner):
        hint, more = hints[name], dict(shared)
        if get_origin(hint) is Annotated:
            hint, more = get_args(hint)[0], more | get_args(hint)[1]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from options_of(hint, (*place, name), more.pop("prefix", ""), more)
            continue
        spelt = name.strip("_").replace("_", "-")
        flag = name if is_word else f"--{prefix or ''}{spelt}"
        yield Option((*place, name), flag, hint, default, required, texts.get(name, ""), more)


def _parameters(owner: Callable[..., Any]) -> Iterator[tuple[str, Any, bool, bool]]:
    """Return name, default, whether one must be given, and whether by position."""
    if dataclasses.is_dataclass(owner):
        for field in dataclasses.fields(owner):
            default = None if field.default is MISSING else field.default
            yield field.name, default, field.default is MISSING and field.default_factory is MISSING, False
        return
    for name, parameter in inspect.signature(owner).parameters.items():
        if parameter.kind is not parameter.VAR_POSITIONAL:
            required = parameter.default is parameter.empty
            is_word = parameter.kind is not parameter.KEYWORD_ONLY
            yield name, None if required else parameter.default, required, is_word


def documentation(owner: Callable[..., Any]) -> dict[str, str]:
    """Return what each argument or field means; ``None: x`` at the end becomes ``[x]``."""
    # what a field of a base class means is said there
    owners = reversed(owner.__mro__[:-1]) if isinstance(owner, type) else (owner,)
    described = map(docstring_parser.parse_from_object, owners)
    return {each.arg_name: _plain(each.description or "") for parsed in described for each in parsed.params}


def described_in(docstring: str) -> dict[str, str]:
    """Return what each argument means by a docstring that is at hand as text."""
    return {each.arg_name: _plain(each.description or "") for each in docstring_parser.parse(docstring).params}


def _plain(text: str) -> str:
    """Take the markup of Python's documentation off."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(text.split())).rstrip(".")
    text = re.sub(r"``(.+?)``", lambda code: f"'{code[1]}'" if " " in code[1] else code[1], text)
    return re.sub(r"[;.,] None: (.+)$", r" [\1]", text)


class Parser(argparse.ArgumentParser):
    """An ``argparse`` parser whose errors are :class:`PgpisError`."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise PgpisError(message, hint=f"'{self.prog} --help' lists every option")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write the help; ``argparse`` would not tell that it cannot."""
        (file or sys.stdout).write(message)


def parser_of(function: Callable[..., Any], prog: str, epilog: str = "") -> Parser:
    """Return the parser of a verb."""
    about = docstring_parser.parse(function.__doc__ or "")
    description = _plain(f"{about.short_description or ''}\n{about.long_description or ''}") + "."
    description = textwrap.fill(description, shutil.get_terminal_size().columns - 2)
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=prog, description=description, epilog=epilog, formatter_class=form, allow_abbrev=False)
    groups: dict[str | None, argparse._ActionsContainer] = {None: parser}
    for option in options_of(function):
        group = option.more.get("group")
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        _add(groups[group], option)
    return parser


def _add(container: argparse._ActionsContainer, option: Option) -> None:
    """Add an option without its default: what is not given is left to the function."""
    is_word = not option.flag.startswith("--")
    dest = ".".join(option.place)
    keywords: dict[str, Any] = {"help": option.help.replace("%", "%%"), "default": argparse.SUPPRESS}
    if option.hint is not bool:
        keywords["metavar"] = option.flag if is_word else option.flag.strip("-").upper().replace("-", "_")
    keywords |= _reading(option.hint)
    many = keywords.pop("many", False)
    if is_word and (many or not option.required):
        keywords["nargs"] = "?" if not many else "+" if option.required else "*"
        keywords["default"] = argparse.SUPPRESS if many else option.default  # what is left out is read as well
    elif not is_word:
        keywords |= {"required": option.required, "dest": dest} | ({"nargs": "+", "action": "extend"} if many else {})
    keywords |= {key: value for key, value in option.more.items() if key in ("nargs", "const", "metavar")}
    names = [dest] if is_word else [*option.more.get("short", ()), option.flag]
    container.add_argument(*names, **keywords)


def _reading(hint: Any) -> dict[str, Any]:
    """Return how argparse reads a value of a type."""
    is_union = get_origin(hint) in (Union, UnionType)
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if is_union else [hint]
    if all(get_origin(kind) is Literal for kind in kinds):
        choices = [str(choice) for kind in kinds for choice in get_args(kind)]
        return {"type": _choice(choices), "metavar": f"{{{','.join(choices)}}}"}
    (kind,) = kinds
    if kind is bool:
        return {"action": "store_true"}
    if get_origin(kind) in (list, tuple, Sequence):
        if get_args(kind) == (int, int):
            return {"type": size}
        return _reading(get_args(kind)[0]) | {"many": True}
    return {"type": kind}


def _written(hint: Any, value: Any) -> str:
    """Return a value as it is written on the command line."""
    several = (value,) if not isinstance(value, tuple | list) else value
    return ("x" if hint == tuple[int, int] else " ").join(map(str, several))


def _choice(choices: Sequence[str]) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in choices:
            known = ", ".join(choices)
            raise argparse.ArgumentTypeError(f"invalid choice: '{text}' (choose from {known}){nearest(text, choices)}")
        return text

    return choice


def size(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text}: expected HEIGHTxWIDTH, as in 256x176")
    return int(height), int(width)


def call(function: Callable[..., int | None], words: Sequence[str], prog: str, epilog: str = "") -> int:
    """Call a function with the words of its verb.

    Raises:
        PgpisError: A word is missing or wrong; names it and the closest valid one.
    """
    kinds = {name: parameter.kind for name, parameter in inspect.signature(function).parameters.items()}
    if set(kinds.values()) == {inspect.Parameter.VAR_POSITIONAL}:  # it has no options of its own
        return function(*words) or 0
    arguments, rest = read(function, words, prog, epilog)
    word = inspect.Parameter.POSITIONAL_OR_KEYWORD
    ordered = [arguments.pop(name) for name in list(arguments) if kinds[name] is word]
    return function(*ordered, *rest, **arguments) or 0


def read(
    function: Callable[..., Any], words: Sequence[str], prog: str, epilog: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments that words stand for, and the words that are left, if the function takes any.

    Raises:
        PgpisError: As :func:`call`.
    """
    parser = parser_of(function, prog, epilog)
    namespace, rest = parser.parse_known_args(list(words))
    parameters = inspect.signature(function).parameters.values()
    takes_keys = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if strays := strays_in(rest) if takes_keys else rest:
        known = [option.flag for option in options_of(function)]
        parser.error(f"unrecognized arguments: {' '.join(strays)}{nearest(strays[0].partition('=')[0], known)}")
    return _arguments(function, vars(namespace)), rest


def _arguments(owner: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Gather values by the parameter that they are for; a dataclass is made of its own."""
    arguments = {}
    hints = get_type_hints(owner)
    for name, default, required, is_word in _parameters(owner):
        if dataclasses.is_dataclass(hints[name]):
            own = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{name}.")}
            values_of = _arguments(hints[name], own)
            arguments[name] = _noted(hints[name](**values_of), values_of)
        elif name in values:
            arguments[name] = values[name]
        elif is_word and not required:
            arguments[name] = default
    return arguments


def given(settings: Any) -> frozenset[str]:
    """Return the fields of a settings dataclass that were on the command line, also with their usual values.

    Of one that was made in Python they are those whose values are not usual.
    """
    fields: frozenset[str] | None = vars(settings).get(_GIVEN)
    if fields is None:
        usual = type(settings)()
        fields = frozenset(name for name, value in vars(settings).items() if value != getattr(usual, name))
    return fields


def with_more(settings: Settings, **values: Any) -> Settings:
    """Return a settings dataclass with values that count as :func:`given`, too."""
    return _noted(dataclasses.replace(settings, **values), given(settings) | values.keys())  # type: ignore[type-var]


def _noted(settings: Settings, fields: Iterable[str]) -> Settings:
    vars(settings)[_GIVEN] = frozenset(fields)  # it may be frozen
    return settings


def spelt(settings: Any) -> list[str]:
    """Return the words that stand for a settings dataclass."""
    words: list[str] = []
    for option in options_of(type(settings), prefix=""):
        value = getattr(settings, option.place[0])
        if value == option.default or value is None:
            continue
        written = [_written(option.hint, value)] if option.hint == tuple[int, int] else value
        words += [option.flag, *(map(str, written) if isinstance(written, tuple | list) else [str(written)])]
    return words
