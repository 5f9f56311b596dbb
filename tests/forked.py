"""Processes that begin at once: forked from one that has loaded torch and the command for all of them.

A fresh one needs eight seconds of a core for that, before it does what a test is about.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from pgpis.interrupts import SIGNALS

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(
    ["pgpis.cli.lightning", "pgpis.tasks", "pgpis.cli.prepare", "pgpis.preprocess.stages", "pgpis.synth.files.dataset"]
)


def process(work, *arguments, log, **environment):
    """Start a process that calls a function of a module, in the working directory, with a group of its own.

    Args:
        work: The function.
        arguments: Its arguments.
        log: File for all that the process says.
        environment: Variables beside those of this process.
    """
    started = FORKING.Process(target=_call, args=(work, arguments, log, Path.cwd(), {**os.environ, **environment}))
    started.start()
    return started


def command(*words, log, workers="fork", **environment):
    """Start ``pgpis WORDS`` likewise; its workers are forked from it, or started as users have it: ``spawn``."""
    return process(_command, list(map(str, words)), workers, log=log, **environment)


def kill(process, signum=signal.SIGKILL):
    """Send a signal to a process and all that it has started, as a terminal does on Ctrl-C."""
    os.killpg(process.pid, signum)


def _call(work, arguments, log, folder, environment):
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    multiprocessing.set_start_method("fork", force=True)  # a loader's workers would load all of it once more
    for signum in SIGNALS:  # as a shell in the foreground leaves them
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    work(*arguments)


def _command(words, workers):
    from pgpis.cli import main

    context = multiprocessing.get_context(workers)
    multiprocessing.get_context = lambda _method=None: context
    sys.exit(main(words))
