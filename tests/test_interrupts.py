"""Both signals, at once and held back; one handler each, and the ones of before come back."""

import os
import signal

import pytest

from pgpis.cli import main
from pgpis.files import locked
from pgpis.interrupts import Stopped, ended_at_once, held


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_job_at_once(signum, code):
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stop, ended_at_once():
        os.kill(os.getpid(), signum)
    assert stop.value.code == code
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
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


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held() as request, ended_at_once():
            os.kill(os.getpid(), signal.SIGINT)
        assert request.signum is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_the_command_to_go_on_is_told_where_something_was_begun(signum, code, debug, monkeypatch, tmp_path, capsys):
    def work(*_):
        with locked(tmp_path):
            os.kill(os.getpid(), signum)

    monkeypatch.setattr("pgpis.cli._run", work)
    assert main(["evaluate", "--generated", "two words", *debug]) == code
    assert "pgpis evaluate --generated 'two words'" in capsys.readouterr().err
    monkeypatch.setattr("pgpis.cli._run", lambda *_: os.kill(os.getpid(), signum))
    assert main(["fit", "--help", *debug]) == code
    assert "goes on" not in capsys.readouterr().err
