"""RWTH-PHOENIX-Weather 2014T's layout: a signer's sequences, with key points as MSKA publishes them.

Below the data set's folder, ``P`` being ``PHOENIX-2014-T-release-v3/PHOENIX-2014-T``:

=====================================================================  =============================================
``P/features/fullFrame-210x260px/{split}/NAME/images0001.png``         frames, 210 wide and 260 high
``P/features/densepose-210x260px/{split}/NAME/images0001.png``         read as RGB: V, U, part (not in the original)
``P/annotations/manual/PHOENIX-2014-T.{split}.corpus.csv``             sequences; glosses and text are placeholders
``Phoenix-2014T.{train,dev,test}``                                     pickle of 133 key points per frame
``labels/phoenix/{split}/NAME.npy``                                    the same points, ``(T, 133, 3)`` float32
=====================================================================  =============================================

The third number of a key point is a confidence: 1 seen, 0.5 hidden, 0 outside the frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pgpis.files import write_bytes
from pgpis.pictures.arrays import write_array
from pgpis.pictures.iuv import iuv_pixels
from pgpis.synth.files.formats import Files, write_image
from pgpis.synth.files.manifest import Entry, plain
from pgpis.synth.files.options import DatasetOptions
from pgpis.synth.scene.sampling import signer_of

SPLITS = ("train", "dev", "test")
SIZE = (260, 210)
RELEASE = "PHOENIX-2014-T-release-v3/PHOENIX-2014-T"
FRAMES = f"{RELEASE}/features/fullFrame-210x260px"
DENSEPOSE = f"{RELEASE}/features/densepose-210x260px"
KEYPOINTS = "labels/phoenix/{split}/{name}.npy"
NAME = "synthetic-signer-{:06d}"
HEADER = "name|video|start|end|speaker|orth|translation\n"
CONFIDENCES = np.array([0.0, 0.5, 1.0], np.float32)
"""By visibility: outside, hidden, seen."""


def write_signer(files: Files, options: DatasetOptions, signer: int, split: str) -> list[Entry]:
    """Draw a signer's sequence, write its files and return the manifest's lines."""
    height, width = SIZE
    name = NAME.format(signer)
    entries, keypoints = [], []
    for frame, scene in enumerate(signer_of(options.seed, signer, options.frames, aspect=width / height)):
        picture_name = f"{split}/{name}/images{frame + 1:04d}.png"
        entry = Entry(f"{FRAMES}/{picture_name}", "phoenix", split, signer, frame, SIZE, plain(scene))
        picture = entry.draw()
        write_image(files.add(entry.name), picture.rgb)
        write_image(files.add(f"{DENSEPOSE}/{picture_name}"), iuv_pixels(picture.iuv))
        entries.append(entry)
        confidences = CONFIDENCES[picture.whole133[:, 2].astype(int)]
        keypoints.append(np.column_stack([picture.whole133[:, :2], confidences]))
    write_array(files.add(KEYPOINTS.format(split=split, name=name)), np.stack(keypoints))
    return entries


def write_lists(root: Path, entries: Iterable[Entry]) -> None:
    """Write corpus tables and pickles of key points; ``entries`` are all frames in this layout, signer by signer."""
    import torch  # is loaded only where its files are written

    from pgpis.synth.files.torch_pickle import pickled

    signers: dict[str, list[int]] = {split: [] for split in SPLITS}
    for (split, signer), _ in itertools.groupby(entries, key=lambda entry: (entry.split, entry.person)):
        signers[split].append(signer)
    for split, numbers in signers.items():
        table, sequences = HEADER, {}
        for signer in numbers:
            name = NAME.format(signer)
            gloss, text = f"PLACEHOLDER {signer}", f"placeholder {signer} ."  # the hands say nothing
            table += f"{name}|{name}/1/*.png|-1|-1|Signer{signer:06d}|{gloss}|{text}\n"
            points = torch.from_numpy(np.load(root / KEYPOINTS.format(split=split, name=name)))
            key = f"{split}/{name}"
            sequences[key] = {"name": key, "gloss": gloss, "text": text, "num_frames": len(points), "keypoint": points}
        write_bytes(root / RELEASE / f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv", table.encode())
        write_bytes(root / f"Phoenix-2014T.{split}", pickled(sequences))
