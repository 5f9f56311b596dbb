"""The papers of the project: YAML parses, documented commands exist and run, links resolve, the site builds."""

import ast
import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from markdown.extensions.toc import slugify
from PIL import Image

from documentation import LANGUAGES, ROOT, UnknownCommandError, blocks, check_command, commands, pages
from pgpis.cli import main
from pgpis.models import foreign
from pgpis.pictures import arrays, decoding, keypoint_files, videos
from pgpis.predictions import marks
from pgpis.unpickle import Budget, machine
from pgpis.weight_files import archive, download
from tools import option_tables

ALL_BLOCKS = [block for page in pages() for block in blocks(page)]
BASH = [block for block in ALL_BLOCKS if block.language == "bash"]
TO_RUN = [page for page in pages() if any(block.not_run is None for block in BASH if block.page == page)]
GENERATED = {".git", "site", "outputs", "dist", "lightning_logs", "node_modules"}
LINK = re.compile(r"\]\(([^)\s]+)\)")


def yaml_files():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in GENERATED and not name.startswith((".venv", "."))]
        yield from (Path(folder) / name for name in names if name.endswith((".yaml", ".yml", ".cff")))


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML readers keep the last in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key is given twice"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("path", sorted(yaml_files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_parses(path):
    assert isinstance(yaml.load(path.read_text(encoding="utf-8"), StrictLoader), dict)


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_block_is_well_formed(block):
    assert block.language in LANGUAGES, "name the language, so that the block is tested as what it is"
    assert block.not_run != "", "say why the block is not run"
    if block.language == "yaml":
        yaml.load(block.text, StrictLoader)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "python":
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pgpis"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("block", BASH, ids=str)
def test_documented_commands_exist(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = commands(block.text)
    assert found
    for words in found:
        check_command(words)


@pytest.mark.parametrize(
    "text",
    [
        "pgpis fti --config fpdm.yaml",
        "pgpis fit --config fdpm.yaml",
        "pgpis fit --config fpdm.yaml --trainer.max_epoch 3",
        "pgpis predict --surces a/ --poses b/ --out c/",
        "pgpis predict --pairing both --sources a/ --poses b/ --out c/",
        "pgpis data chek data/toy",
        "pgpis data check --quick data/toy",
        "pgpis convert fpdm --fuson last.ckpt --diffusion last.ckpt --out model",
        "pgpis configs shwo fpdm.yaml",
        "make dmo",
        "python scripts/demos.py",
        "pgpis synth --out data/toy --persons 3",
        "python scripts/demo.py --folder data/toy",
        "SEED=1 python -m pgpis_cli",
        "cd data && frobnicate",
    ],
)
def test_the_check_notices(text, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UnknownCommandError):
        check_command(commands(text)[-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a --b 'c d' # why\n", [["a", "--b", "c d"]]),
        ("a \\\n  --b c\n", [["a", "--b", "c"]]),
        ("# only words\n\nX=1 Y=2 a b && c | d > e; f", [["a", "b"], ["c"], ["d"], ["f"]]),
        ("a pairs=3 --n=4", [["a", "pairs=3", "--n=4"]]),
    ],
)
def test_commands_are_split_like_a_shell_does(text, expected):
    assert commands(text) == expected


def test_blocks_are_found_with_their_marker(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n```bash\nls a\n```\n\n<!-- not run: no GPU -->\n\n- item\n\n"
        "<!-- not run: needs data -->\n  ```bash\n  ls b\n    --c\n  ```\n\n````text\n```\n````\n"
    )
    found = [(block.line, block.language, block.text, block.not_run) for block in blocks(page)]
    assert found == [
        (3, "bash", "ls a\n", None),
        (12, "bash", "ls b\n  --c\n", "needs data"),
        (17, "text", "```\n", None),
    ]


SHELL = re.compile(r"[|&;<>$`*?~]|^\w+=")
"""What only a shell understands."""
KEPT_BY_A_SHELL = re.compile(r"^\s*(cd|export|source|\w+=)", flags=re.MULTILINE)
"""What later lines of a block depend on: these run in one shell."""
PROGRAM = ("pgpis --help", "pgpis --version")
"""Run as a user does, so that the installed program is started; any other start would cost the import of torch."""


@pytest.fixture
def run_page(tmp_path, monkeypatch, drawing_here, packing_here, fast_inpainting):
    """Run the blocks of a page that are not marked, in order, in a folder like a fresh clone.

    Smoke recipes train for an epoch of two steps, all sample in two: commands are tested, not what models learn.
    """
    for name in ("configs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for recipe in (tmp_path / "configs").rglob("*.yaml"):
        text = re.sub(r"\bnum_inference_steps: \d+", "num_inference_steps: 2", recipe.read_text(encoding="utf-8"))
        if recipe.parent.name == "smoke":
            text, count = re.subn(r"\bmax_steps: \d+", "max_steps: 2\n  limit_train_batches: 2", text)
            assert count == 1, f"{recipe.name}: expected one max_steps"
        recipe.write_text(text, encoding="utf-8")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # threads that wait by spinning slow down every neighbour on a shared machine by a factor of several
    environment = {**os.environ, "PATH": programs, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    monkeypatch.chdir(tmp_path)

    def run(page):
        for block in blocks(page):
            if block.language != "bash" or block.not_run is not None:
                continue
            text = re.sub(r"(--trainer\.max_steps) \d+", r"\1 2", block.text).replace("\\\n", " ")
            for line in [text] if KEPT_BY_A_SHELL.search(text) else text.splitlines():
                spoken = commands(line)
                if [words[0] for words in spoken] == ["pgpis"] and not SHELL.search(line) and line not in PROGRAM:
                    assert run_here(spoken[0][1:]) == 0, f"{block}: {line}"
                elif spoken:
                    run_in_a_shell(line, block)
        return tmp_path

    def run_in_a_shell(text, block):
        call = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert call.returncode == 0, f"{block}: exit code {call.returncode}\n{call.stdout[-4000:]}"

    return run


def run_here(words):
    """Run the command in this process; ``--print_config`` and some helps end it."""
    try:
        return main(words)
    except SystemExit as stop:
        return stop.code or 0


@pytest.mark.slow
def test_readme_runs_as_written(run_page):
    folder = run_page(ROOT / "README.md")
    tables = sorted(folder.rglob("predictions.csv"))
    assert [table.parent.name for table in tables] == ["edited", "pictures"]
    for table in tables:
        with table.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
        assert records
        assert {record["status"] for record in records} == {"done"}
        for record in records:
            with Image.open(table.parent / record["image"]) as picture:
                picture.load()
        assert (table.parent / "contact_sheet.jpg").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in TO_RUN if page.name != "README.md"], ids=lambda page: page.name)
def test_page_runs_as_written(page, run_page):
    run_page(page)


@pytest.mark.parametrize("page", sorted({*pages(), *ROOT.glob("*.md")}), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.is_relative_to(ROOT), f"{page.name} links out of the repository: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {slugify(heading, "-") for heading in headings}, f"{page.name}: no heading for {link}"


def test_messages_name_pages_of_the_documentation_that_exist_and_no_path_that_a_wheel_lacks():
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        if not re.search(r"docs/|manual\(", text := path.read_text(encoding="utf-8")):
            continue
        nodes = list(ast.walk(ast.parse(text)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert not [node.value for node in texts if "docs/" in node.value and id(node) not in docstrings], path
        calls = (node for node in nodes if getattr(getattr(node, "func", None), "id", "") == "manual")
        named |= {page.value for call in calls for page in call.args}
    assert named >= {"train-your-own", "data/phoenix"}
    assert all((ROOT / f"docs/{page}.md").is_file() for page in named)


def test_tables_of_options_are_those_of_the_code():
    for path, text, right in option_tables.pages():
        assert text == right, f"{path.name}: 'make tables' writes it"


def test_first_screen_of_the_readme_ends_with_the_contents():
    first, contents, _ = (ROOT / "README.md").read_text(encoding="utf-8").partition("## First pictures")
    assert contents
    assert "## Contents" in first
    assert "make demo" in first
    assert first.count("\n") < 40


@pytest.mark.parametrize("method", ["fpdm", "mcld"])
def test_page_of_a_method_names_each_file_of_its_folder(method):
    folder = ROOT / "src/pgpis/methods" / method
    table = (ROOT / f"docs/models/{method}.md").read_text(encoding="utf-8").partition("## Where it is")[2]
    table = table.partition("\n## ")[0]
    assert f"`src/pgpis/methods/{method}/`" in table
    rows = "".join(line for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(\w+\.py)`", rows)) == {path.name for path in folder.glob("*.py")} - {"__init__.py"}


def test_limits_of_the_security_page_are_those_of_the_code():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    stated = {
        "instructions of a pickle": machine.MOST_STEPS == 2_000_000,
        "three times the file, at least 64 MiB": (Budget(0).bytes, Budget(2**30).bytes) == (2**26, 3 * 2**30),
        "8 MiB, 32 levels, numbers up to 2^24, 256 layers": (
            (foreign.LARGEST_JSON, foreign.DEEPEST, foreign.LARGEST_NUMBER, foreign.MOST_LAYERS)
            == (2**23, 32, 2**24, 256)
        ),
        "120 million pixels, 32 times as long as wide, 512 MiB": (
            (decoding.MOST_PIXELS, decoding.LONGEST, decoding.MOST_BYTES) == (120_000_000, 32, 2**29)
        ),
        "10,000 frames, 7680 x 4320 pixels each": (videos.MOST_FRAMES, videos.MOST_PIXELS) == (10_000, 7680 * 4320),
        "2^18 characters, 2^28 pixels at once": (marks.MOST_TEXT, marks.MOST_PIXELS) == (2**18, 2**28),
        "| 4 MiB |": keypoint_files.MOST_BYTES == 2**22,
        "plus 2^20": foreign.SPARE_NUMBERS == 2**20,
        "64 MiB, and no more than the file holds": arrays.LARGEST == 2**26,
        "1 GiB, counted while reading": archive.LARGEST_FILE == 2**30,
        "4 GiB": download.LARGEST == 2**32,
    }
    for limit, same in stated.items():
        assert limit in text
        assert same, limit


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path):
    call = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert call.returncode == 0, call.stderr[-4000:]
    assert (tmp_path / "site" / "index.html").is_file()
