"""The ``pgpis`` command: one table of verbs, each imported when it is called.

``pgpis --help``, ``pgpis --version`` and a mistyped verb are answered from this file alone, without torch.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import select
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pgpis import __version__
from pgpis.cli.synonyms import suggestion
from pgpis.errors import PgpisError
from pgpis.interrupts import Stopped, ended_at_once
from pgpis.lazy import collect_rarely

USAGE_ERROR = 2
UNREAD = 141
"""Exit code where nobody reads the output any more, as of ``pgpis configs | head -1``: 128 plus SIGPIPE's number."""

VERBS = {
    "fit": ("pgpis.cli.training:fit", "train a model from a recipe"),
    "validate": ("pgpis.cli.training:validate", "compute the validation loss and draw sample grids"),
    "test": ("pgpis.cli.training:test", "generate the test pairs and score them against the targets"),
    "predict": ("pgpis.cli.predict:predict", "make pictures from folders of sources and poses"),
    "cache": ("pgpis.cli.cache:cache", "compute the features of frozen encoders once, for training"),
    "evaluate": ("pgpis.cli.evaluate:evaluate", "score a folder of generated pictures by a published protocol"),
    "compare": ("pgpis.cli.evaluate:compare", "compare two folders of generated pictures pair by pair"),
    "bench synth": ("pgpis.cli.bench:synth", "measure models on synthetic people, against their exact truth"),
    "bench pairs": ("pgpis.cli.bench:photos", "measure models on photographs of people who are shown more than once"),
    "bench model": ("pgpis.cli.speed:model", "time how a model draws pictures, in several settings"),
    "bench train": ("pgpis.cli.speed:train", "time training steps, in several settings"),
    "bench memory": ("pgpis.cli.memory:memory", "count the memory of a training step, without a GPU"),
    "bench data": ("pgpis.cli.speed:data", "time how training pairs are loaded, by stage and by worker"),
    "data check": ("pgpis.cli.data:check", "say what is in a data set on disk and what is missing"),
    "data link": ("pgpis.cli.data:link", "lay a data set out for another method"),
    "data pack": ("pgpis.cli.data:pack", "write the pairs of a data set as shards"),
    "serve": ("pgpis.cli.serve:serve", "make pictures over HTTP, for other programs"),
    "prepare": ("pgpis.cli.prepare:prepare", "make key points, DensePose maps, textures and faces from photographs"),
    "weights list": ("pgpis.cli.weights:list_weights", "list the weights that others published"),
    "weights fetch": ("pgpis.cli.weights:fetch_weights", "download weights"),
    "weights verify": ("pgpis.cli.weights:verify_weights", "find damaged files of weights"),
    "synth": ("pgpis.cli.synth:synth", "draw a data set of synthetic people"),
    "synth edit": ("pgpis.cli.synth:edit", "draw (source, edit, truth) triples from a data set"),
    "synth sheet": ("pgpis.cli.synth:sheet", "draw a contact sheet"),
    "app": ("pgpis.cli.app:app", "try models in the browser"),
    "convert fpdm": ("pgpis.cli.convert:fpdm", "turn FPDM's official checkpoints into a pipeline"),
    "convert mcld": ("pgpis.cli.convert:mcld", "turn MCLD's official files into a pipeline"),
    "configs": ("pgpis.cli.recipes:configs", "list the recipes"),
    "configs show": ("pgpis.cli.recipes:show", "print a recipe"),
}
"""By the words of a verb: the function whose signature and docstring are its options, and what it does."""
GROUPS = {verb.partition(" ")[0] for verb in VERBS if " " in verb}


def top_level_help() -> str:
    """Return the text of ``pgpis --help``."""
    return (
        "usage: pgpis [--help] [--version] [--debug] VERB ...\n\n"
        "Pose-guided person image synthesis: a picture and a pose in, the same person in that pose out.\n\n"
        f"verbs:\n{_listing(VERBS)}\n\n"
        "options:\n"
        "  --help     show this text; 'pgpis VERB --help' explains a verb\n"
        "  --version  show the version\n"
        "  --debug    show the traceback of an error\n"
    )


def _listing(verbs: Iterable[str]) -> str:
    width = max(map(len, verbs))
    return "\n".join(f"  {verb:<{width}}  {VERBS[verb][1]}" for verb in verbs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: Words after ``pgpis``; ``sys.argv`` by default.

    Returns:
        The exit code: 0 done, 1 done with failures or an internal error, 2 wrong input, 130 and 143 stopped by Ctrl-C
        and SIGTERM, 141 nobody reads the output.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    _configure_logging(debug=debug)
    try:
        return _run_quietly(words, debug=debug)
    finally:
        _configure_logging(debug=False)  # whoever calls this again has asked for nothing
        _drop_unwritten()


def _answer(words: Sequence[str]) -> int:
    """Run what the words ask for."""
    verb = words[0] if words else "--help"
    if verb == "help" and len(words) > 1:
        return _answer([*words[1:], "--help"])
    if verb in ("--help", "-h", "help"):
        sys.stdout.write(top_level_help())
        return 0
    if verb in ("--version", "-V"):
        sys.stdout.write(f"pgpis {__version__}\n")
        return 0
    if verb not in VERBS and verb not in GROUPS:
        known = {*VERBS, *GROUPS}
        raise PgpisError(f"unknown verb '{verb}'{suggestion(verb, known)} ('pgpis --help' lists them)")
    return _run(verb, words[1:])


def _run(verb: str, words: Sequence[str]) -> int:
    """Call the function of a verb, or tell the second words that a first one has."""
    subverbs = [name for name in VERBS if name.startswith(f"{verb} ")]
    if subverbs and words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if words and f"{verb} {words[0]}" in subverbs:
        return _run(f"{verb} {words[0]}", words[1:])
    listing = f"verbs:\n{_listing(subverbs)}\n" if subverbs else ""
    if verb not in VERBS and any(word in ("-h", "--help") for word in words):
        sys.stdout.write(f"usage: pgpis {verb} {{{','.join(name.split()[1] for name in subverbs)}}} ...\n\n{listing}")
        return 0
    if subverbs and (verb not in VERBS or (words and not words[0].startswith("-"))):
        seconds = [name.split()[1] for name in subverbs]
        problem = f"unknown word '{words[0]}'{suggestion(words[0], seconds)}" if words else "a word is missing"
        raise PgpisError(f"pgpis {verb}: {problem}; expected {' or '.join(seconds)}", hint=f"pgpis {verb} --help")
    module, _, name = VERBS[verb][0].partition(":")
    function = getattr(importlib.import_module(module), name)
    from pgpis.cli.options import call  # loads argparse

    return call(function, words, f"pgpis {verb}", listing)


def _run_quietly(words: Sequence[str], *, debug: bool) -> int:
    """Do what the words ask for and tell any error in one message; ``debug`` lets it through, with its traceback."""
    try:
        with ended_at_once():
            try:
                code = _answer(words)
            except SystemExit:  # a help was shown
                sys.stdout.flush()
                raise
            sys.stdout.flush()
            return code
    except Stopped as stop:
        if int(os.environ.get("LOCAL_RANK", "0")):  # the main process tells it
            return 0 if stop.was_held else stop.code  # Lightning kills the others where one ends with another code
        command = stop.command or (shlex.join(["pgpis", *words]) if stop.has_begun else None)
        goes_on = "" if command is None else f"; this command goes on with it: {command}"
        return _complain(f"{stop}{goes_on}", code=stop.code)
    except Exception as error:  # the last place that can tell it
        if isinstance(error, BrokenPipeError) and _is_unread():
            return UNREAD
        if debug:
            raise
        message = _user_error(error)
        if message is not None:
            return _complain(own_words(message), code=message.exit_code)
        return _complain(f"{type(error).__name__}: {error}\n  hint: run again with --debug for the traceback", code=1)


def _user_error(error: BaseException | None) -> PgpisError | None:
    """Return the message for the user in a chain of exceptions; jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, PgpisError):
        if isinstance(error, OSError):
            from pgpis.refusals import refusal_of  # no other answer needs it

            if refusal := refusal_of(error):
                return refusal
        error = error.__cause__ or error.__context__
    return error


def own_words(error: PgpisError) -> str:
    """Return what an error says, without the traceback that torch puts before it where a loader's process met it."""
    before, _, words = str(error).rpartition(f"{type(error).__name__}: ")
    return words.rstrip() if before.startswith("Caught ") else str(error)


def console() -> None:
    """Entry point of the installed ``pgpis`` script."""
    collect_rarely()
    sys.exit(main())


def _is_unread() -> bool:
    """Whether the output is a pipe that nobody reads any more: workers have pipes too."""
    with contextlib.suppress(OSError):  # an output that is no file
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def _drop_unwritten() -> None:
    """Drop output that cannot be written: Python would try once more in the end, and tell it once more."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _complain(message: str, code: int = USAGE_ERROR) -> int:
    sys.stderr.write(f"pgpis: error: {message}\n")
    return code


class _StderrHandler(logging.Handler):
    """Writes to what is ``sys.stderr`` at that moment, so that a caller may redirect it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"pgpis: {record.getMessage()}\n")


def _configure_logging(*, debug: bool) -> None:
    """Show the log of pgpis on the main process; leave other libraries' settings alone."""
    logger = logging.getLogger("pgpis")
    if not logger.handlers and int(os.environ.get("LOCAL_RANK", "0")) == 0:
        logger.addHandler(_StderrHandler())
    if any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        # the page goes on after an error, and logs its traceback for --debug
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
