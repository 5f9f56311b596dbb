"""The ``pgpis`` command: finds the verb and imports only what that verb needs.

``pgpis --help``, ``pgpis --version`` and a mistyped verb are answered from this file alone, without torch.
"""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from pgpis import __version__
from pgpis.cli.synonyms import suggestion
from pgpis.errors import PgpisError
from pgpis.interrupts import Stopped, ended_at_once

USAGE_ERROR = 2

VERBS = {
    "fit": ("lightning", "train a model from a recipe"),
    "validate": ("lightning", "compute the validation loss and draw sample grids"),
    "test": ("lightning", "generate the test pairs and score them against the targets"),
    "predict": ("predict", "make pictures from folders of sources and poses"),
    "cache": ("cache", "compute the features of frozen encoders once, for training"),
    "evaluate": ("evaluate", "score a folder of generated pictures by a published protocol"),
    "compare": ("evaluate", "compare two folders of generated pictures pair by pair"),
    "bench": ("bench", "measure models on synthetic people, against their exact truth"),
    "data": ("data", "check a data set on disk, or lay it out for another method"),
    "prepare": ("prepare", "make key points, DensePose maps, textures and faces from photographs"),
    "weights": ("weights", "list, fetch and verify the weights that others published"),
    "synth": ("synth", "draw synthetic people: data sets, editing benchmarks, contact sheets"),
    "convert": ("convert", "turn official checkpoints into pgpis models"),
    "configs": ("configs", "list or print the recipes"),
}


def top_level_help() -> str:
    """Return the text of ``pgpis --help``."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in VERBS.items())
    return (
        "usage: pgpis [--help] [--version] [--debug] VERB ...\n\n"
        "Pose-guided person image synthesis: a picture and a pose in, the same person in that pose out.\n\n"
        f"verbs:\n{verbs}\n\n"
        "options:\n"
        "  --help     show this text; 'pgpis VERB --help' explains a verb\n"
        "  --version  show the version\n"
        "  --debug    show the traceback of an error\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: Words after ``pgpis``; ``sys.argv`` by default.

    Returns:
        The exit code: 0 done, 1 done with failures or an internal error, 2 wrong input, 130 and 143 stopped by Ctrl-C
        and SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    verb = words[0] if words else "--help"
    if verb in ("--help", "-h", "help"):
        sys.stdout.write(top_level_help())
        return 0
    if verb in ("--version", "-V"):
        sys.stdout.write(f"pgpis {__version__}\n")
        return 0
    if verb not in VERBS:
        return _complain(f"unknown verb '{verb}'{suggestion(verb, VERBS)} ('pgpis --help' lists them)")
    _configure_logging()
    return _run_quietly(verb, words[1:], debug=debug)


def _run(verb: str, words: Sequence[str]) -> int:
    module = importlib.import_module(f"pgpis.cli.{VERBS[verb][0]}")
    return int(module.run(verb, words))


def _run_quietly(verb: str, words: Sequence[str], *, debug: bool) -> int:
    """Run a verb and tell any error in one message; ``debug`` lets it through, with its traceback."""
    try:
        with ended_at_once():
            return _run(verb, words)
    except Stopped as stop:
        if int(os.environ.get("LOCAL_RANK", "0")):  # the main process tells it
            return 0 if stop.was_held else stop.code  # Lightning kills the others where one ends with another code
        command = stop.command or shlex.join(["pgpis", verb, *words])
        return _complain(f"{stop}; this command goes on with it: {command}", code=stop.code)
    except Exception as error:
        if debug:
            raise
        told = _user_error(error)
        if told is not None:
            return _complain(str(told), code=told.exit_code)
        return _complain(f"{type(error).__name__}: {error}\n  hint: run again with --debug for the traceback", code=1)


def _user_error(error: BaseException | None) -> PgpisError | None:
    """Return the message for the user in a chain of exceptions; jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, PgpisError):
        if isinstance(error, OSError) and (error.filename or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)):
            from pgpis.files import write_refusal  # no other answer needs it

            refusal = write_refusal(Path(os.fsdecode(error.filename or "the files of this run")), error)
            if refusal is not None:
                return refusal
        error = error.__cause__ or error.__context__
    return error


def console() -> None:
    """Entry point of the installed ``pgpis`` script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold any bytes
    sys.exit(main())


def _complain(message: str, code: int = USAGE_ERROR) -> int:
    sys.stderr.write(f"pgpis: error: {message}\n")
    return code


class _StderrHandler(logging.Handler):
    """Writes to what is ``sys.stderr`` at that moment, so that a caller may redirect it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"pgpis: {record.getMessage()}\n")


def _configure_logging() -> None:
    """Show the log of pgpis on the main process; leave other libraries' settings alone.

    Names of files need not be UTF-8: what cannot be written is shown with escapes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logger = logging.getLogger("pgpis")
    if not logger.handlers and int(os.environ.get("LOCAL_RANK", "0")) == 0:
        logger.addHandler(_StderrHandler())
        logger.setLevel(logging.INFO)
