"""Faces by insightface's and facexlib's own classes."""

import numpy as np
import pytest
import torch
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.preprocess.face import FaceParser, FacexlibEncoder, InsightFaceEncoder
from pgpis.weight_files import CATALOGUE
from tiny_models import write_insightface

FILES = [name.rpartition("/")[2] for name in CATALOGUE["face-antelopev2"].files]
FETCH = "pgpis weights fetch facexlib-detection facexlib-recognition facexlib-parsing"


def bgr(picture):
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Three faces: of 64, 128 and 96 of the detector's 640 pixels."""
    return write_insightface(tmp_path_factory.mktemp("pack"), FILES, ((3, 3, 1.0), (5, 10, 2.0), (10, 5)))


@pytest.fixture(scope="module")
def analysis(pack):
    """insightface alone."""
    from insightface.app import FaceAnalysis

    analysis = FaceAnalysis(str(pack), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_size=(640, 640))
    return analysis


@pytest.fixture(scope="module")
def picture():
    """Noise, so that enlarging it changes it; the detector enlarges it eightfold."""
    return Image.fromarray(np.random.default_rng(6).integers(0, 256, (80, 64, 3), dtype=np.uint8))


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


class TestInsightFace:
    def test_faces_of_the_picture_largest_first(self, pack, analysis, picture):
        faces = InsightFaceEncoder(pack)(picture)
        boxes = sorted((face.bbox for face in analysis.get(bgr(picture))), key=lambda box: -area(box))
        assert [round(face.box[2] - face.box[0]) for face in faces] == [16, 12, 8]
        for face, box in zip(faces, boxes, strict=True):
            np.testing.assert_allclose(face.box, box, atol=1e-4)
            assert face.area == pytest.approx(area(box), rel=1e-5)
            assert face.embedding.shape == (512,)
            assert face.embedding.dtype == np.float32
            assert abs(np.linalg.norm(face.embedding) - 1) > 0.5  # raw, as MCLD saves it
        # the second face: its centre at (5, 10) of stride 32, its sides 128 of 640 pixels
        np.testing.assert_allclose(faces[0].box, (12, 32, 28, 48), atol=1e-3)

    def test_without_enlargement_it_is_insightfaces_own(self, pack, analysis, picture):
        faces = InsightFaceEncoder(pack, upscale=0)(picture)
        own = sorted(analysis.get(bgr(picture)), key=lambda face: -area(face.bbox))
        for face, expected in zip(faces, own, strict=True):
            np.testing.assert_array_equal(face.embedding, expected.embedding)

    def test_small_faces_are_embedded_from_the_enlarged_picture(self, pack, analysis, picture):
        from insightface.app.common import Face

        plain, enlarged = (InsightFaceEncoder(pack, upscale)(picture) for upscale in (0, 112))
        own = sorted(analysis.get(bgr(picture)), key=lambda face: -area(face.bbox))
        for small, face, expected in zip(plain, enlarged, own, strict=True):
            assert face.box == small.box
            left, top, right, bottom = expected.bbox
            side = max(right - left, bottom - top)
            scale = int(np.ceil(112 / side))
            # a quarter of the side around it, in whole pixels of the picture
            corner = np.maximum(np.floor([left - side / 4, top - side / 4]), 0)
            end = np.minimum(np.ceil([right + side / 4, bottom + side / 4]), picture.size)
            width, height = ((end - corner) * scale).astype(int)
            region = picture.crop((*map(int, corner), *map(int, end))).resize((width, height), Image.Resampling.BICUBIC)
            landmarks = ((expected.kps + 0.5 - corner) * scale - 0.5).astype(np.float32)
            again = analysis.models["recognition"].get(bgr(region), Face(kps=landmarks))
            np.testing.assert_allclose(face.embedding, again, rtol=1e-3, atol=np.abs(again).max() * 5e-4)
            assert np.abs(face.embedding - small.embedding).max() > 0.05 * np.abs(again).max()

    def test_large_faces_are_left_alone(self, pack, picture):
        large = picture.resize((512, 640))
        plain, enlarged = (InsightFaceEncoder(pack, upscale)(large) for upscale in (0, 100))
        same = [np.array_equal(one.embedding, other.embedding) for one, other in zip(plain, enlarged, strict=True)]
        assert [round(face.box[2] - face.box[0]) for face in plain] == [128, 96, 64]
        assert same == [True, False, False]

    def test_a_picture_without_faces(self, tmp_path, picture):
        assert InsightFaceEncoder(write_insightface(tmp_path, FILES, ()))(picture) == []

    def test_the_embedding_depends_on_the_picture(self, pack, picture):
        encoder = InsightFaceEncoder(pack)
        assert not np.allclose(encoder(picture)[0].embedding, encoder(picture.rotate(180))[0].embedding)

    @pytest.mark.parametrize("left", [[], FILES[:1], FILES[1:], ["broken"]])
    def test_a_folder_without_a_pack(self, left, pack, tmp_path):
        for name in left:
            content = b"no model" if name == "broken" else (pack / name).read_bytes()
            (tmp_path / (FILES[0] if name == "broken" else name)).write_bytes(content)
        with pytest.raises(PgpisError, match=r"is not an insightface pack .*expected \.onnx files") as caught:
            InsightFaceEncoder(tmp_path)
        assert str(tmp_path) in caught.value.message
        assert caught.value.hint == "pgpis weights fetch face-antelopev2 --accept-licence"


@pytest.mark.slow
class TestFacexlib:
    DETECTION, RECOGNITION, PARSING = (
        "detection_mobilenet0.25_Final.pth",
        "recognition_arcface_ir_se50.pth",
        "parsing_bisenet.pth",
    )

    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory):
        """facexlib's nets with random weights; the detector sees faces of 64 pixels with landmarks in their places."""
        from facexlib.detection.retinaface import RetinaFace
        from facexlib.parsing.bisenet import BiSeNet
        from facexlib.recognition.arcface_arch import Backbone

        folder = tmp_path_factory.mktemp("facexlib")
        torch.manual_seed(3)
        detector = RetinaFace("mobile0.25", device="cpu")
        for level in range(3):
            head = detector.ClassHead[level].conv1x1
            head.weight.data *= 0.001
            wanted = 8.0 if level == 1 else -8.0
            head.bias.data = torch.tensor([-wanted, wanted, 8.0, -8.0])
            detector.BboxHead[level].conv1x1.weight.data.zero_()
            detector.BboxHead[level].conv1x1.bias.data.zero_()
            detector.LandmarkHead[level].conv1x1.weight.data.zero_()
            points = torch.tensor([-2.0, -1.5, 2.0, -1.5, 0.0, 0.0, -1.5, 2.0, 1.5, 2.0])
            detector.LandmarkHead[level].conv1x1.bias.data = points.repeat(2)
        torch.save(detector.state_dict(), folder / self.DETECTION)
        torch.save(Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se").state_dict(), folder / self.RECOGNITION)
        torch.save(BiSeNet(num_class=19).state_dict(), folder / self.PARSING)
        return folder

    @pytest.fixture(scope="class")
    def encoder(self, files):
        return FacexlibEncoder(files / self.DETECTION, files / self.RECOGNITION)

    @pytest.fixture(scope="class")
    def parser(self, files):
        return FaceParser(files / self.PARSING)

    def test_faces(self, encoder, picture):
        square = picture.resize((64, 64))
        faces = encoder(square)
        assert faces
        assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
        for face in faces:
            left, top, right, bottom = face.box
            assert (right - left, bottom - top) == (pytest.approx(64, abs=0.01), pytest.approx(64, abs=0.01))
            assert ((left + right) / 2) % 16 == pytest.approx(8, abs=0.01)
            assert face.embedding.shape == (512,)
            assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
        other = encoder.embed(bgr(square.rotate(180)), encoder.detect(bgr(square))[0][1])
        own = encoder.embed(bgr(square), encoder.detect(bgr(square))[0][1])
        assert np.abs(own - other).max() > 1e-4

    def test_embedding_is_the_nets(self, encoder, picture):
        """Recomputed: facexlib's alignment, red first, from -1 to 1."""
        from facexlib.detection.align_trans import get_reference_facial_points, warp_and_crop_face

        pixels = bgr(picture.resize((64, 64)))
        landmarks = encoder.detect(pixels)[0][1]
        reference = get_reference_facial_points(default_square=True)
        aligned = warp_and_crop_face(pixels, landmarks.tolist(), reference, crop_size=(112, 112))
        values = torch.from_numpy(aligned[..., ::-1].astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        with torch.inference_mode():
            expected = encoder._recogniser(values)[0].numpy()
        np.testing.assert_allclose(encoder.embed(pixels, landmarks), expected, atol=1e-5)

    def test_the_mask_has_the_pictures_size(self, parser, picture):
        mask = parser(picture, (20.0, 30.0, 40.0, 50.0))
        assert (mask.mode, mask.size) == ("L", picture.size)
        values = np.asarray(mask)
        assert set(np.unique(values)) <= {0, 255}
        outside = np.ones_like(values, bool)
        outside[25:55, 15:45] = False
        assert (values[outside] == 0).all()

    @pytest.mark.parametrize("box", [(20.0, 30.0, 40.0, 50.0), (-30.0, -30.0, 200.0, 200.0), (50.0, 70.0, 70.0, 90.0)])
    def test_the_mask_lies_where_the_face_is(self, box, files, picture):
        """With a net that takes the left half of what it sees for skin, the rest for background or hair."""
        parser = FaceParser(files / self.PARSING)
        seen = []

        def net(values):
            seen.append(values)
            classes = torch.zeros(1, 19, 512, 512)
            classes[:, 1, :, :256] = 1
            classes[:, 17, :, 256:384] = 1
            return (classes,)

        parser._net = net
        values = np.asarray(parser(picture, box))
        side = box[2] - box[0]
        left, top = max(0, int(box[0] - side / 4)), max(0, int(box[1] - side / 4))
        right, bottom = min(64, int(box[2] + side / 4)), min(80, int(box[3] + side / 4))
        expected = np.zeros((80, 64), np.uint8)
        expected[top:bottom, left : (left + right) // 2] = 255
        assert (values != expected).mean() < 0.02
        assert seen[0].shape == (1, 3, 512, 512)
        assert seen[0].abs().max() < 3

    def test_a_missing_file_is_named_and_not_fetched(self, files, tmp_path):
        for detection, recognition in (
            (tmp_path / self.DETECTION, files / self.RECOGNITION),
            (files / self.DETECTION, tmp_path / self.RECOGNITION),
        ):
            with pytest.raises(PgpisError, match=f"weights not found: {tmp_path}") as caught:
                FacexlibEncoder(detection, recognition)
            assert caught.value.hint == FETCH
        with pytest.raises(PgpisError, match=f"weights not found: {tmp_path}") as caught:
            FaceParser(tmp_path / self.PARSING)
        assert caught.value.hint == FETCH
        assert list(tmp_path.iterdir()) == []

    def test_files_of_other_nets_are_named(self, files, tmp_path):
        for name in (self.DETECTION, self.RECOGNITION, self.PARSING):
            torch.save({"weight": torch.zeros(3)}, tmp_path / name)
        with pytest.raises(PgpisError, match=rf"cannot load .*{self.DETECTION}"):
            FacexlibEncoder(tmp_path / self.DETECTION, files / self.RECOGNITION)
        with pytest.raises(PgpisError, match=rf"cannot load .*{self.RECOGNITION}"):
            FacexlibEncoder(files / self.DETECTION, tmp_path / self.RECOGNITION)
        with pytest.raises(PgpisError, match=rf"cannot load .*{self.PARSING}"):
            FaceParser(tmp_path / self.PARSING)
        (tmp_path / "mine.pth").write_bytes((files / self.DETECTION).read_bytes())
        with pytest.raises(PgpisError, match=r"mine\.pth is not named like facexlib's detection_Resnet50"):
            FacexlibEncoder(tmp_path / "mine.pth", files / self.RECOGNITION)
        (tmp_path / self.PARSING).write_bytes(b"no weights")
        with pytest.raises(PgpisError, match=rf"cannot load .*{self.PARSING}"):
            FaceParser(tmp_path / self.PARSING)
