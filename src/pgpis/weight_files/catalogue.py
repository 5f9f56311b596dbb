"""The weights that others published: what they are for, under which licence, where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pgpis.errors import PgpisError, nearest


@dataclass(frozen=True)
class WeightFile:
    """One thing to download, and the files that come of it.

    Args:
        name: By which pgpis knows it.
        files: What must be there in the end, relative to the weights folder.
        url: Where it is published. A zip is unpacked.
        licence: As the publisher states it.
        commercial: Whether commercial use is allowed; None: the publisher does not say.
        use: What it is for.
        sha256: Of the download, or its first digits; None: not published.
        size: Bytes of the download; None: not published.
        caches: Further folders in which the libraries keep it; ``PACKAGE:FOLDER`` is inside an installed package.
        member: Name of the file inside the zip, where it differs.
    """

    name: str
    files: tuple[str, ...]
    url: str
    licence: str
    commercial: bool | None
    use: str
    sha256: str | None = None
    size: int | None = None
    caches: tuple[str, ...] = ()
    member: str | None = None

    @property
    def download(self) -> str:
        """Name of what is downloaded, relative to the weights folder: the zip, or the file itself."""
        name = PurePosixPath(urlsplit(self.url).path).name
        return name if name.endswith(".zip") else self.files[0]

    @property
    def zipped(self) -> bool:
        """Whether the download is a zip."""
        return self.download.endswith(".zip")


_TORCH = "~/.cache/torch/hub/checkpoints"
_RTMLIB = "~/.cache/rtmlib/hub/checkpoints"
_INSIGHTFACE = ("~/.insightface/models", "~/.insightface/models/antelopev2")  # its zip makes the folder twice
_RESEARCH_DATA = "Apache-2.0 (some training data: research only)"


def _entry(name: str, url: str, use: str, folder: str = "", **fields: Any) -> WeightFile:
    """Return an entry whose one file keeps the name that it is published under; its licence is not stated."""
    files = (f"{folder}{url.rpartition('/')[2]}",)
    return WeightFile(**{"name": name, "files": files, "url": url, "use": use, "commercial": None, **fields})


def _densepose(name: str, model: str, use: str) -> WeightFile:
    url = f"https://dl.fbaipublicfiles.com/densepose/densepose_rcnn_{model}.pkl"
    use = f"DensePose's body surface from a picture: {use}"
    return _entry(f"densepose-{name}", url, use, "densepose/", licence="CC BY-SA 3.0", commercial=True)


def _rtmpose(name: str, archive: str, licence: str, use: str) -> WeightFile:
    """Return the entry of a network of OpenMMLab that rtmlib runs."""
    files = (f"rtmpose/{archive.rpartition('/')[2]}.onnx",)
    url = f"https://download.openmmlab.com/mmpose/v1/projects/{archive}.zip"
    return _entry(name, url, use, licence=licence, files=files, caches=(_RTMLIB,), member="end2end.onnx")


def _insightface(name: str, detector: str, recogniser: str, use: str) -> WeightFile:
    url = f"https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip"
    files = (f"{name}/{detector}", f"{name}/{recogniser}")
    licence = "insightface models: non-commercial research only"
    return _entry(f"face-{name}", url, use, licence=licence, commercial=False, files=files, caches=_INSIGHTFACE)


def _facexlib(name: str, asset: str, use: str) -> WeightFile:
    url = f"https://github.com/xinntao/facexlib/releases/download/{asset}.pth"
    licence = "not stated (code: MIT, Apache-2.0)"
    return _entry(f"facexlib-{name}", url, use, "facexlib/", licence=licence, caches=("facexlib:weights",))


def _torch_hub(name: str, url: str, licence: str, use: str) -> WeightFile:
    """Return the entry of a file whose name ends with the first digits of its sha256, as torch hub has it."""
    digits = url.removesuffix(".pth").rpartition("-")[2]
    return _entry(name, url, use, licence=licence, sha256=digits, caches=(_TORCH,))


_ENTRIES = (
    _densepose("r50", "R_50_FPN_s1x/165712039/model_final_162be9", "ResNet-50"),
    _densepose("r101", "R_101_FPN_s1x/165712084/model_final_c6ab63", "ResNet-101"),
    _densepose("r50-dl", "R_50_FPN_DL_s1x/165712097/model_final_0ed407", "ResNet-50, DeepLab head"),
    _densepose("r101-dl", "R_101_FPN_DL_s1x/165712116/model_final_844d15", "ResNet-101, DeepLab head"),
    _densepose("r50-wc1", "R_50_FPN_WC1_s1x/173862049/model_final_289019", "ResNet-50, with confidence"),
    _densepose(
        "r50-dl-wc1",
        "R_50_FPN_DL_WC1_s1x/173067973/model_final_b1e525",
        "ResNet-50, DeepLab head, with confidence",
    ),
    _rtmpose(
        "pose-detector",
        "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a",
        "Apache-2.0 (training data Human-Art: research only)",
        "finds people in a picture, for the three pose-* networks",
    ),
    _rtmpose(
        "pose-body17",
        "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504",
        _RESEARCH_DATA,
        "17 key points of the body",
    ),
    _rtmpose(
        "pose-body26",
        "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605",
        _RESEARCH_DATA,
        "26 key points of body and feet",
    ),
    _rtmpose(
        "pose-wholebody133",
        "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-256x192_20231122",
        _RESEARCH_DATA,
        "133 key points of body, feet, face and hands",
    ),
    _insightface("antelopev2", "scrfd_10g_bnkps.onnx", "glintr100.onnx", "finds faces, face embeddings (MCLD's)"),
    _insightface("buffalo_l", "det_10g.onnx", "w600k_r50.onnx", "finds faces, face embeddings"),
    _insightface("buffalo_s", "det_500m.onnx", "w600k_mbf.onnx", "finds faces, face embeddings; small and fast"),
    _facexlib("detection", "v0.1.0/detection_Resnet50_Final", "finds faces (RetinaFace)"),
    _facexlib("recognition", "v0.1.0/recognition_arcface_ir_se50", "face embeddings (ArcFace)"),
    _facexlib("parsing", "v0.2.0/parsing_bisenet", "regions of a face (BiSeNet)"),
    _torch_hub(
        "inception-legacy",
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "not stated (code: BSD-3-Clause)",
        "FID as this field publishes it",
    ),
    _entry(  # its name keeps the digits of the file that it was made from
        "inception-standard",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "FID of protocol 'standard'",
        licence="not stated (code: Apache-2.0)",
        caches=(_TORCH,),
    ),
    _torch_hub(
        "lpips-alexnet",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "not stated (code: BSD-3-Clause)",
        "LPIPS",
    ),
)
CATALOGUE: Mapping[str, WeightFile] = {entry.name: entry for entry in _ENTRIES}


def catalogued(name: str) -> WeightFile:
    """Return the entry of the catalogue.

    Raises:
        PgpisError: There is none of this name; names the nearest.
    """
    if name not in CATALOGUE:
        raise PgpisError(f"unknown weights '{name}'{nearest(name, CATALOGUE)}", hint="pgpis weights list")
    return CATALOGUE[name]
