"""Training on a random number of sources, as a user starts it."""

import pytest

from pgpis.cli import main

WORDS = ("fit", "--trainer.max_steps=2", "--data.val=null", "--data.train.init_args.most_sources=3")


@pytest.mark.slow
def test_fpdm_trains(tiny):
    assert main(tiny(*WORDS)) == 0


@pytest.mark.slow
def test_mcld_trains(tiny_mcld_words):
    assert main(tiny_mcld_words(*WORDS)) == 0
