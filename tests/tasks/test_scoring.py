"""What ``pgpis test`` says of the pictures that it makes."""

import numpy as np
import torch

from pgpis.evaluate.score import Scores
from pgpis.tasks.scoring import PairScores


def test_the_report_says_what_evaluate_says_of_a_picture_that_equals_its_truth(tmp_path):
    truth = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = torch.stack([truth[0], truth[1] / 2, truth[2] / 4])
    scores, values = PairScores(tmp_path), []
    for rows, names in ((slice(0, 1), "a"), (slice(1, 3), "bc")):
        scores.add(pictures[rows], truth[rows], names)
        values += scores.metrics["psnr"].last_values.tolist()
    report = scores.report((64, 64), {"seed": 1})
    assert (report.samples, report.details) == (3, {"seed": 1, "infinite_psnr": 1})
    evaluated = Scores("fpdm", (64, 64), tuple("abc"), {"psnr": np.array(values)}, {}, {}, (), {})
    assert report.results["psnr"] == evaluated.summary()["psnr"]
    assert evaluated.left_out == {"psnr": 1}
