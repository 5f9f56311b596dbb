"""``make demo`` as a newcomer runs it, from the shipped weights: every picture is there, and better than the source."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_the_demo_makes_its_page(tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, str(REPOSITORY / "scripts/demo.py"), "--out", str(out)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=offline)
    assert run.returncode == 0, run.stderr
    assert f"Open {out}/index.html" in run.stdout
    page = (out / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img alt="" src="([^"]+)">', page)
    assert len(pictures) == 6 * (1 + 4 * 4) + 6 * 6
    assert not [name for name in pictures if not (out / name).is_file()]
    assert (out / "sheet.jpg").is_file()
    first = run.stdout[run.stdout.index("24 pairs:") :].splitlines()[1:5]
    psnr = {line.rsplit(maxsplit=6)[0].strip(): float(line.rsplit(maxsplit=6)[2]) for line in first}
    assert min(psnr["FPDM"], psnr["MCLD"]) > psnr["the source as it is"] + 2
    for edit in ("identity", "clothes"):
        lines = run.stdout[run.stdout.index(f"Another one's {edit}: 6 edits") :].splitlines()[1:4]
        assert [line.rsplit(maxsplit=6)[0].strip() for line in lines][1:] == [
            "MCLD without the edit",
            "MCLD with the edit",
        ]
