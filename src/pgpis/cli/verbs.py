"""Parsing of the plain verbs, with the same one-line errors as everywhere else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentError, ArgumentParser

from pgpis.errors import PgpisError, nearest


class Text(str):
    """A word ``--key=value`` for the config system whose value stays as it is: others are read as YAML.

    Args:
        key: Like ``--data.predict.init_args.sources``.
        value: What the key gets, or the list of it.
    """

    __slots__ = ("key", "value")

    key: str
    value: str | list[str]

    def __new__(cls, key: str, value: str | list[str]) -> Text:  # noqa: D102, PYI034  typing.Self is of Python 3.11
        word = super().__new__(cls, f"{key}={value}")
        word.key, word.value = key, value
        return word


class OneLineParser(argparse.ArgumentParser):
    """An ``argparse`` parser whose errors are :class:`PgpisError`."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise PgpisError(message, hint=f"'{self.prog} --help' lists every option")


def parse(parser: ArgumentParser, words: Sequence[str]) -> Any:
    """Parse the words of a verb with subcommands and return the options of the one that was chosen.

    Raises:
        PgpisError: A word is missing or wrong; names it and the closest valid one.
    """
    try:
        options = parser.parse_args(list(words))
    except ArgumentError as error:
        message = " ".join(str(error).split())
        choice = re.search(r"invalid choice: '?([\w-]+)'? \(choose from (.+)\)", message)
        if choice:
            message += nearest(choice.group(1), re.findall(r"[\w-]+", choice.group(2)))
        raise PgpisError(message, hint=f"'{parser.prog} --help' lists every option") from error
    return options[options.subcommand]
