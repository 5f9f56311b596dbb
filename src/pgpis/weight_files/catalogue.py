"""The weights that others published: what they are for, under which licence, where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
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
_OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects"
_RESEARCH_DATA = "Apache-2.0 (some training data: research only)"


def _densepose(name: str, model: str, use: str) -> WeightFile:
    """Return the entry of a model of DensePose's zoo."""
    return WeightFile(
        name=name,
        files=(f"densepose/{model.rpartition('/')[2]}",),
        url=f"https://dl.fbaipublicfiles.com/densepose/{model}",
        licence="CC BY-SA 3.0",
        commercial=True,
        use=f"DensePose's body surface from a picture: {use}",
    )


def _rtmpose(name: str, archive: str, licence: str, use: str) -> WeightFile:
    """Return the entry of a network of OpenMMLab that rtmlib runs."""
    return WeightFile(
        name=name,
        files=(f"rtmpose/{PurePosixPath(archive).stem}.onnx",),
        url=f"{_OPENMMLAB}/{archive}",
        licence=licence,
        commercial=None,
        use=use,
        caches=(_RTMLIB,),
        member="end2end.onnx",
    )


def _insightface(name: str, detector: str, recogniser: str, use: str) -> WeightFile:
    """Return the entry of a model pack of insightface."""
    return WeightFile(
        name=f"face-{name}",
        files=(f"{name}/{detector}", f"{name}/{recogniser}"),
        url=f"https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip",
        licence="insightface models: non-commercial research only",
        commercial=False,
        use=use,
        caches=_INSIGHTFACE,
    )


def _facexlib(name: str, asset: str, use: str) -> WeightFile:
    """Return the entry of a network of facexlib."""
    return WeightFile(
        name=f"facexlib-{name}",
        files=(f"facexlib/{asset.rpartition('/')[2]}",),
        url=f"https://github.com/xinntao/facexlib/releases/download/{asset}",
        licence="not stated (code: MIT, Apache-2.0)",
        commercial=None,
        use=use,
        caches=("facexlib:weights",),
    )


def _torch_hub(name: str, url: str, licence: str, use: str) -> WeightFile:
    """Return the entry of a file whose name ends with the first digits of its sha256, as torch hub has it."""
    file = url.rpartition("/")[2]
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return WeightFile(
        name=name,
        files=(file,),
        url=url,
        licence=licence,
        commercial=None,
        use=use,
        sha256=digits,
        caches=(_TORCH,),
    )


CATALOGUE: Mapping[str, WeightFile] = {
    entry.name: entry
    for entry in (
        _densepose("densepose-r50", "densepose_rcnn_R_50_FPN_s1x/165712039/model_final_162be9.pkl", "ResNet-50"),
        _densepose("densepose-r101", "densepose_rcnn_R_101_FPN_s1x/165712084/model_final_c6ab63.pkl", "ResNet-101"),
        _densepose(
            "densepose-r50-dl",
            "densepose_rcnn_R_50_FPN_DL_s1x/165712097/model_final_0ed407.pkl",
            "ResNet-50, DeepLab head",
        ),
        _densepose(
            "densepose-r101-dl",
            "densepose_rcnn_R_101_FPN_DL_s1x/165712116/model_final_844d15.pkl",
            "ResNet-101, DeepLab head",
        ),
        _densepose(
            "densepose-r50-wc1",
            "densepose_rcnn_R_50_FPN_WC1_s1x/173862049/model_final_289019.pkl",
            "ResNet-50, with confidence",
        ),
        _densepose(
            "densepose-r50-dl-wc1",
            "densepose_rcnn_R_50_FPN_DL_WC1_s1x/173067973/model_final_b1e525.pkl",
            "ResNet-50, DeepLab head, with confidence",
        ),
        _rtmpose(
            "pose-detector",
            "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip",
            "Apache-2.0 (training data Human-Art: research only)",
            "finds people in a picture, for the three pose-* networks",
        ),
        _rtmpose(
            "pose-body17",
            "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",
            _RESEARCH_DATA,
            "17 key points of the body",
        ),
        _rtmpose(
            "pose-body26",
            "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.zip",
            _RESEARCH_DATA,
            "26 key points of body and feet",
        ),
        _rtmpose(
            "pose-wholebody133",
            "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-256x192_20231122.zip",
            _RESEARCH_DATA,
            "133 key points of body, feet, face and hands",
        ),
        _insightface("antelopev2", "scrfd_10g_bnkps.onnx", "glintr100.onnx", "finds faces, face embeddings (MCLD's)"),
        _insightface("buffalo_l", "det_10g.onnx", "w600k_r50.onnx", "finds faces, face embeddings"),
        _insightface("buffalo_s", "det_500m.onnx", "w600k_mbf.onnx", "finds faces, face embeddings; small and fast"),
        _facexlib("detection", "v0.1.0/detection_Resnet50_Final.pth", "finds faces (RetinaFace)"),
        _facexlib("recognition", "v0.1.0/recognition_arcface_ir_se50.pth", "face embeddings (ArcFace)"),
        _facexlib("parsing", "v0.2.0/parsing_bisenet.pth", "regions of a face (BiSeNet)"),
        _torch_hub(
            "inception-legacy",
            "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
            "not stated (code: BSD-3-Clause)",
            "FID as this field publishes it",
        ),
        replace(
            _torch_hub(
                "inception-standard",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth",
                "not stated (code: Apache-2.0)",
                "FID of protocol 'standard'",
            ),
            sha256=None,  # its name keeps the digits of the file that it was made from
        ),
        _torch_hub(
            "lpips-alexnet",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "not stated (code: BSD-3-Clause)",
            "LPIPS",
        ),
    )
}


def catalogued(name: str) -> WeightFile:
    """Return the entry of the catalogue.

    Raises:
        PgpisError: There is none of this name; names the nearest.
    """
    if name not in CATALOGUE:
        raise PgpisError(f"unknown weights '{name}'{nearest(name, CATALOGUE)}", hint="pgpis weights list")
    return CATALOGUE[name]
