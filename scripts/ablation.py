"""All ablations of both papers through ``fit`` and ``test``, and one table of their scores.

``python scripts/ablation.py --root outputs/demo/data --out outputs/ablation`` runs them at smoke size, on a CPU, which
shows that every recipe works. ``--real`` takes the published sizes and needs a GPU and pretrained weights. What is
done already is not run again; what was done with other words, or of weights that have been trained anew, is refused.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgpis.cli import main as pgpis
from pgpis.errors import PgpisError, check_range
from pgpis.files import files_below, sha256_of, write_text

TINY_CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 64, "intermediate_size": 128, "projection_dim": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64, "patch_size": 16,
}  # fmt: skip
MODEL = "--model.init_args."
REPORT = "test/metrics.json"
WORDS = "words.json"
"""File beside a result: the words of the command that it is of."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    recipe: str
    what: str
    overlay: str | None = None
    smoke: tuple[str, ...] = ()
    """Options in place of the overlay at smoke size, where the overlay names pretrained weights."""
    train: bool = True


def rows(out: Path) -> Iterator[Row]:
    """List all ablations; priors come before the models that take them."""
    yield Row("A1", "fusion", "source's own embedding", "ablation/a1.yaml", train=False)
    yield Row("A2", "fusion", "baseline InfoNCE", "ablation/a2.yaml")
    yield Row("A3", "fusion", "source-enhanced InfoNCE", "ablation/a3.yaml")
    clip = f"{MODEL}source_encoder={json.dumps(TINY_CLIP)}"
    no_prior = f"{MODEL}fusion_embedder=null"
    small = (f"{MODEL}conditioner.source_size=64", f"{MODEL}source_detour=false", no_prior)
    yield Row("B1", "fpdm", "CLIP, small source", "ablation/b1.yaml", (clip, *small))
    yield Row(
        "B2", "fpdm", "DINOv2, small source", "ablation/b2.yaml", (f"{MODEL}conditioner.source_size=56", *small[1:])
    )
    yield Row("B3", "fpdm", "DINOv2, no prior", "ablation/b3.yaml", (no_prior,))
    source = json.dumps({"encoder": TINY_CLIP, "combiner": False})
    yield Row("B4", "fpdm", "source's embedding as prior", "ablation/b4.yaml", (f"{MODEL}fusion_embedder={source}",))
    for name, prior in (("B5", "a2"), ("B6", "a3")):
        option = f"{MODEL}fusion_embedder={out}/{prior}/fusion_embedder"
        yield Row(name, "fpdm", f"prior {prior.upper()}", None, (option,))
    yield Row("MCLD", "mcld", "as published")
    for name, what in (
        ("no_face", "without face"),
        ("no_texture", "without texture"),
        ("all_stages", "all tokens in every stage"),
        ("ip_attention", "plain IP-attention"),
    ):
        yield Row(f"MCLD {name}", "mcld", what, f"ablation/mcld_{name}.yaml")


def run(*words: object) -> None:
    """Run a pgpis command, and stop if it fails."""
    command = [str(word) for word in words]
    print(f"\n$ pgpis {' '.join(command)}", flush=True)
    code = pgpis(command)
    if code:
        sys.exit(code)


def words_of(row: Row, options: argparse.Namespace) -> list[str]:
    """Spell what ``fit`` and ``test`` of an ablation share."""
    smoke = not options.real
    words = ["--config", f"{'smoke/' if smoke else ''}{row.recipe}.yaml"]
    if row.overlay is not None and not (smoke and row.smoke):
        words += ["--config", row.overlay]
    if smoke or row.overlay is None:
        words += row.smoke
    words += [f"--data.{split}.init_args.root={options.root}" for split in ("train", "val", "test")]
    words += [f"--trainer.default_root_dir={folder_of(row, options)}"]
    if smoke:
        words += ["--trainer.enable_progress_bar=false"]
        if row.recipe != "fusion":
            words += [f"{MODEL}vae={options.out}/autoencoder/vae"]
    return words


def folder_of(row: Row, options: argparse.Namespace) -> Path:
    """Return where an ablation is trained and measured."""
    folder: Path = options.out / row.name.lower().replace(" ", "_")
    return folder


def limit_of(options: argparse.Namespace) -> list[str]:
    """Spell how many steps are trained."""
    return [f"--trainer.max_steps={options.steps}"] if options.steps else []


def is_done(folder: Path, result: str, words: Sequence[str], options: argparse.Namespace) -> bool:
    """Return whether a folder has its result, and of these words.

    Raises:
        PgpisError: What is there was made with others, or by an earlier version, which kept none.
    """
    done, kept = (folder / result).exists(), folder / WORDS
    there = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None
    if there != _kept(words, options) and (done or there is not None):
        raise PgpisError(
            f"{folder} was made with other words (--real, --steps, --root), of another prior or autoencoder, "
            "or by an earlier version of this script",
            hint=f"another --out, or: rm -r {folder}",
        )
    return done


def begin(folder: Path, words: Sequence[str], options: argparse.Namespace) -> None:
    """Keep the words that a folder's result will be of."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / WORDS, json.dumps(_kept(words, options), indent=1))


def _kept(words: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Return words by which the same work is known, however the paths are spelled, and what its parts hold."""
    named = ((f".root={options.root}", f".root={options.root.resolve()}"), (f"={options.out}/", "=OUT/"))
    parts = [Path(word.partition("=")[2]) for word in words if word.startswith(MODEL) and f"={options.out}/" in word]
    hashes = [sha256_of(file) for part in parts for file in files_below(part)]
    return [functools.reduce(lambda text, pair: text.replace(*pair), named, word) for word in words] + hashes


def measure(row: Row, options: argparse.Namespace) -> dict[str, float]:
    """Train and test one ablation, unless that was done."""
    folder, words = folder_of(row, options), words_of(row, options)
    limit = limit_of(options) if row.train else []
    if not is_done(folder, REPORT, [*words, *limit], options):
        begin(folder, [*words, *limit], options)
        if row.train:
            run("fit", *words, *limit)
            run("test", *words, "--ckpt_path", "last")  # last.ckpt may be of a run that was stopped
        else:
            run("test", *words)
    results = json.loads((folder / REPORT).read_text(encoding="utf-8"))["results"]
    return {name: value for name, value in results.items() if isinstance(value, float)}


def make_autoencoder(options: argparse.Namespace) -> None:
    """Train the autoencoder of smoke size, unless that was done."""
    folder = options.out / "autoencoder"
    words = ["--config", "smoke/autoencoder.yaml"]
    words += [f"--data.{split}.init_args.root={options.root}" for split in ("train", "val")]
    words += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder}", *limit_of(options)]
    if not is_done(folder, "vae", words, options):
        begin(folder, words, options)
        run("fit", *words)


def table(measured: dict[str, tuple[Row, dict[str, float]]]) -> str:
    """Return the results, the prior's and the pictures' apart."""
    lines = []
    for retrieval in (True, False):
        part = {name: entry for name, entry in measured.items() if (entry[0].recipe == "fusion") == retrieval}
        columns = list(dict.fromkeys(column for _, values in part.values() for column in values))
        lines += [f"| | what | {' | '.join(columns)} |", f"|{' --- |' * (len(columns) + 2)}"]
        for name, (row, values) in part.items():
            cells = (f"{values[column]:.4f}" if column in values else "-" for column in columns)
            lines.append(f"| {name} | {row.what} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Run everything and write ``ablation.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("outputs/demo/data"), help="data set with textures")
    parser.add_argument("--out", type=Path, default=Path("outputs/ablation"))
    parser.add_argument("--steps", type=int, default=None, help="training steps of each [as in the recipe]")
    parser.add_argument("--real", action="store_true", help="published sizes: needs a GPU and pretrained weights")
    parser.add_argument("--only", nargs="*", default=[], help="names of rows, such as A2 B6")
    options = parser.parse_args()
    known = list(rows(options.out))
    if unknown := set(options.only) - {row.name for row in known}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; one of {', '.join(row.name for row in known)}")
    selection = [row for row in known if not options.only or row.name in options.only]
    try:
        check_range("--steps", options.steps, 1, whole=True, optional=True)
        for row in selection:  # before hours of work
            limit = limit_of(options) if row.train else []
            is_done(folder_of(row, options), REPORT, [*words_of(row, options), *limit], options)
        if not options.real:
            make_autoencoder(options)
        measured = {row.name: (row, measure(row, options)) for row in selection}
    except PgpisError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return error.exit_code
    size = "published size" if options.real else "smoke size: random weights, a few steps; the order means nothing"
    text = f"{len(measured)} ablations, {size}.\n\n{table(measured)}"
    write_text(options.out / "ablation.md", text)
    print(f"\n{text}\n{options.out / 'ablation.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
