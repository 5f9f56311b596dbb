"""Each signal, at once and held back; one handler each, and the ones of before come back."""

import os
import signal
import subprocess
import sys

import pytest

from pgpis.cli import main
from pgpis.files import locked
from pgpis.interrupts import SIGNALS, Stopped, ended_at_once, held


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_a_job_at_once(signum, code):
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stop, ended_at_once():
        os.kill(os.getpid(), signum)
    assert stop.value.code == code
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("signum", SIGNALS)
def test_held_signals_wait_until_they_are_obeyed(signum):
    with held() as request:
        request.obey()
        os.kill(os.getpid(), signum)
        with pytest.raises(Stopped) as stop:
            request.obey("pgpis fit --ckpt_path last")
    assert (stop.value.signum, stop.value.command) == (signum, "pgpis fit --ckpt_path last")


def test_only_a_second_ctrl_c_does_not_wait():
    with held() as request:
        for signum in (signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)
    assert request.signum == signal.SIGTERM


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_an_ignored_signal_stays_ignored(signum):
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with held() as request, ended_at_once():
            os.kill(os.getpid(), signum)
        assert request.signum is None
    finally:
        signal.signal(signum, before)


@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_a_closed_terminal_ends_a_job_where_it_loses_nothing(ignored, tmp_path):
    """What it says from then on goes nowhere; ``nohup`` writes to a file."""
    terminal, side = os.openpty()
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(tmp_path / "saved"), str(int(ignored))],
        stdin=side,
        stdout=side,
        stderr=subprocess.DEVNULL if ignored else side,
        start_new_session=True,
    )
    os.close(side)
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(terminal, 100)
    os.close(terminal)
    assert job.wait(60) == (0 if ignored else 129)
    assert (tmp_path / "saved").read_text() == ("None" if ignored else str(int(signal.SIGHUP)))


JOB = """
import fcntl, pathlib, signal, sys, termios, time
from pgpis.interrupts import Stopped, held
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if int(sys.argv[2]):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    with held() as request:
        print("begun", flush=True)
        end = time.monotonic() + (2 if int(sys.argv[2]) else 60)
        while request.signum is None and time.monotonic() < end:
            time.sleep(0.01)
        if not int(sys.argv[2]):
            print("a progress bar", flush=True)
            print("a message", file=sys.stderr, flush=True)
        pathlib.Path(sys.argv[1]).write_text(str(request.signum and int(request.signum)))
        request.obey()
except Stopped as stop:
    sys.exit(stop.code)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_the_command_to_go_on_is_told_where_something_was_begun(signum, code, debug, monkeypatch, tmp_path, capsys):
    def work(*_):
        with locked(tmp_path):
            os.kill(os.getpid(), signum)

    monkeypatch.setattr("pgpis.cli._run", work)
    assert main(["prepare", "--images", "two words", *debug]) == code
    assert "pgpis prepare --images 'two words'" in capsys.readouterr().err
    monkeypatch.setattr("pgpis.cli._run", lambda *_: os.kill(os.getpid(), signum))
    assert main(["fit", "--help", *debug]) == code
    assert "goes on" not in capsys.readouterr().err


def test_no_command_is_told_where_it_would_begin_anew(monkeypatch, tmp_path, capsys):
    def work(*_):
        with locked(tmp_path, resumes=False):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("pgpis.cli._run", work)
    assert main(["test", "--config", "fpdm.yaml"]) == 130
    assert capsys.readouterr().err == "pgpis: error: interrupted\n"
