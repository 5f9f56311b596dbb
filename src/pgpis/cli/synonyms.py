"""What other programs call what pgpis does."""

from __future__ import annotations

from collections.abc import Collection

from pgpis.errors import nearest

SYNONYMS = {
    **dict.fromkeys(("train", "finetune", "fine-tune", "resume"), "fit"),
    **dict.fromkeys(("generate", "sample", "infer", "inference", "run", "transfer", "demo"), "predict"),
    **dict.fromkeys(("eval", "score", "metrics", "fid", "benchmark"), "evaluate"),
    **dict.fromkeys(("val", "valid", "validation"), "validate"),
    **dict.fromkeys(("diff", "versus"), "compare"),
    **dict.fromkeys(("download", "get", "fetch", "pull"), "weights fetch"),
    **dict.fromkeys(("ls", "models", "model"), "weights list"),
    "verify": "weights verify",
    **dict.fromkeys(("check", "dataset"), "data check"),
    "link": "data link",
    **dict.fromkeys(("preprocess", "extract", "keypoints", "densepose", "pose"), "prepare"),
    **dict.fromkeys(("features", "precompute"), "cache"),
    **dict.fromkeys(("generate-data", "synthesize", "synthesise", "draw"), "synth"),
    **dict.fromkeys(("import", "export"), "convert"),
    **dict.fromkeys(("recipe", "recipes", "config", "list"), "configs"),
    "show": "configs show",
}


def suggestion(word: str, valid: Collection[str]) -> str:
    """Return ``; did you mean 'x'?`` for the valid word that means the same or is spelt alike, or an empty string."""
    meant = SYNONYMS.get(word.lower(), "")
    for candidate in (meant, meant.rpartition(" ")[2]):
        if candidate in valid:
            return f"; did you mean '{candidate}'?"
    return nearest(word, valid)
