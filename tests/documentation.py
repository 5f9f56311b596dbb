"""What test_docs.py knows about pages: their code blocks, the commands in these, and whether a command exists."""

import contextlib
import functools
import importlib
import importlib.util
import io
import itertools
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgpis.cli import USAGE_ERROR, VERBS, main
from pgpis.cli.options import read
from pgpis.errors import PgpisError
from pgpis.pipelines.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {"bash", "json", "python", "text", "toml", "yaml", "csv"}
SEPARATORS = {"&&", "||", ";", "|", "&"}
REDIRECTIONS = {">", ">>", "<", ">&", "&>"}

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>\S*).*$")
NOT_RUN = re.compile(r"^\s*<!--\s*not run:(?P<reason>.*)-->\s*$")
TARGET = re.compile(r"^([a-z][a-z-]*):.*##", flags=re.MULTILINE)

# Programs of others: that they are spelt right is all that a test without network and set-up can say.
FOREIGN = {"cd", "cp", "curl", "export", "git", "ls", "mkdir", "mv", "pip", "pre-commit", "source", "tensorboard", "uv"}


class UnknownCommandError(AssertionError):
    """A documented command that a reader could not run as written."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    """Reason in the comment before the block; None if the block is to be run."""

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages():
    """Return README.md and every page of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page):
    """Return the fenced blocks of a page, in order."""
    found, lines, position = [], page.read_text(encoding="utf-8").splitlines(), 0
    while position < len(lines):
        fence = FENCE.match(lines[position])
        if fence is None:
            position += 1
            continue
        start, indent = position, len(fence["indent"])
        body = []
        position += 1
        while position < len(lines) and lines[position].strip() != fence["ticks"]:
            body.append(lines[position][indent:])
            position += 1
        assert position < len(lines), f"{page}:{start + 1}: the block is not closed"
        before = [line for line in lines[:start] if line.strip()][-1:]
        marker = NOT_RUN.match(before[0]) if before else None
        reason = marker["reason"].strip() if marker else None
        found.append(Block(page, start + 1, fence["language"], "\n".join(body) + "\n", reason))
        position += 1
    return found


def commands(text):
    """Split the text of a ``bash`` block into commands, each a list of words without assignments and redirections."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = "#"
        command = []
        words = iter(lexer)
        for word in words:
            if word in SEPARATORS:
                found.append(command)
                command = []
            elif word in REDIRECTIONS:
                next(words)
            elif command or not re.match(r"^\w+=", word):
                command.append(word)
        found.append(command)
    return [command for command in found if command]


def check_command(words):
    """Check that a command exists as it is written, without running what it does.

    Raises:
        UnknownCommandError: The program, verb, option, recipe, make target or script does not exist.
    """
    program, rest = Path(words[0]).name, words[1:]
    if program == "pgpis":
        _check_pgpis(rest)
    elif program == "make":
        _check_make(rest)
    elif re.fullmatch(r"python3?", program):
        _check_python(rest)
    elif program in ("pytest", "ruff", "mypy", "mkdocs", "torchrun"):
        if not (Path(sys.executable).parent / program).exists():
            raise UnknownCommandError(f"{program} is not installed by 'make setup'")
    elif program not in FOREIGN:
        raise UnknownCommandError(f"no check for '{program}': put what is no command into a ```text block")


def _check_pgpis(words):
    """Let the verb's own parser read the words; the Lightning verbs stop after printing what they understood."""
    # a picture that is made again is not there to be asked for its pose
    words = ["--poses" if word == "--like" else word for word in words if word != "--debug"]
    verb = next((verb for verb in (" ".join(words[:2]), " ".join(words[:1])) if verb in VERBS), None)
    module, _, name = VERBS[verb][0].partition(":") if verb else ("", "", "")
    is_configurable = module in ("pgpis.cli.training", "pgpis.cli.predict")
    if is_configurable and not {"--help", "-h", "--print_config"} & set(words):
        words = [*words, "--print_config"]
    pipeline = next((after for word, after in itertools.pairwise(words) if word == "--pipeline"), None)
    if verb == "predict" and "--config" not in words and pipeline not in (None, *SHIPPED):
        words += ["--config", f"{'mcld' if 'mcld' in pipeline else 'fpdm'}.yaml"]  # an export is not there to be asked
    said = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if is_configurable or verb is None or verb.startswith("configs"):
                code = main(words)
            else:
                read(getattr(importlib.import_module(module), name), words[len(verb.split()) :], f"pgpis {verb}")
        except SystemExit as stop:
            code = stop.code or 0
        except PgpisError as error:
            raise UnknownCommandError(str(error)) from error
    report = f"pgpis {shlex.join(words)}: exit code {code}\n{said.getvalue()[-2000:]}"
    if code == USAGE_ERROR:
        raise UnknownCommandError(report)
    assert code == 0, report


def _check_make(words):
    known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    unknown = [word for word in words if "=" not in word and not word.startswith("-") and word not in known]
    if unknown:
        raise UnknownCommandError(f"no make target {unknown}; there are {sorted(known)}")


def _check_python(words):
    if words[:1] == ["-c"]:
        compile(words[1], "<documented command>", "exec")
    elif words[:1] == ["-m"]:
        if importlib.util.find_spec(words[1]) is None:
            raise UnknownCommandError(f"no module {words[1]}")
    else:
        script = ROOT / words[0]
        if not script.is_file():
            raise UnknownCommandError(f"no script {words[0]}")
        options = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
        if options:
            unknown = options - _options_of(script)
            if unknown:
                raise UnknownCommandError(f"{words[0]} has no option {sorted(unknown)}")


@functools.cache
def _options_of(script):
    """Run ``--help`` of a script in this process, which has imported what it imports."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [str(script), "--help"])
        patch.syspath_prepend(script.parent)
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(script), run_name="__main__")
    assert not stop.value.code
    return set(re.findall(r"--[\w-]+", said.getvalue()))
