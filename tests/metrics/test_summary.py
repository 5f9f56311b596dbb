"""Reports: what a reader finds in the files."""

import csv
import json

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.metrics import MetricReport, write_pair_values

RESULTS = {"SSIM": torch.tensor(0.71234567), "PSNR": float("inf"), "LPIPS": "not computed: missing a|b.pth"}


def test_json_and_markdown_say_the_same(tmp_path):
    report = MetricReport("fpdm", 8, RESULTS, size=(512, 352), details={"steps": 20})
    json_path, markdown_path = report.write(tmp_path / "run")
    report = json.loads(json_path.read_text())
    assert (report["protocol"], report["samples"]) == ("fpdm", 8)
    assert report["size"] == {"height": 512, "width": 352}
    assert report["details"] == {"steps": 20}
    assert report["results"]["SSIM"] == pytest.approx(0.71234567)
    assert report["results"]["PSNR"] == "inf"
    assert report["results"]["LPIPS"] == RESULTS["LPIPS"]
    markdown = markdown_path.read_text()
    assert markdown.startswith("protocol `fpdm`, 8 samples, 512x352 pixels (height x width), steps 20\n")
    assert "| SSIM | 0.7123 |" in markdown
    assert "| LPIPS | not computed: missing a\\|b.pth |" in markdown
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["metrics.json", "metrics.md"]


def test_nan_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(PgpisError, match="'SSIM' is NaN"):
        MetricReport("fpdm", 0, {"SSIM": float("nan")}).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_table_of_pairs(tmp_path):
    path = tmp_path / "pairs.csv"
    write_pair_values(path, ["a_2_b", "with,comma"], {"SSIM": [0.5, 1.0], "PSNR": torch.tensor([20.0, 30.0])})
    with path.open() as file:
        table = list(csv.DictReader(file))
    assert [row["pair_id"] for row in table] == ["a_2_b", "with,comma"]
    assert [float(row["PSNR"]) for row in table] == [20.0, 30.0]
    with pytest.raises(PgpisError, match="'SSIM' has 1 values for 2 pairs"):
        write_pair_values(path, ["a", "b"], {"SSIM": [0.5]})
