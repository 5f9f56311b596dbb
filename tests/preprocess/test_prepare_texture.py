"""``pgpis prepare texture``: the mapper's results in files, resumed, with failures listed."""

import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.conditions import read_iuv
from pgpis.images import read_image
from pgpis.uv_texture import TextureMapper


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Pictures and DensePose maps of two views, with the textures that the generator itself unwraps from them."""
    from pgpis.synth.dataset import DatasetOptions, make_dataset

    root = tmp_path_factory.mktemp("drawn")
    assert not make_dataset(root, DatasetOptions(2, 2, (128, 88), seed=5, test_share=0.5, textures="none")).failures
    return root


def test_textures_are_the_mappers(drawn, tmp_path, capsys):
    words = ["prepare", "texture", "--images", drawn / "train", "--out", tmp_path / "out", "--workers", 2]
    assert main(list(map(str, words))) == 0
    assert "2 textures made, 0 there already" in capsys.readouterr().out
    for path in sorted((drawn / "train").glob("*.jpg")):
        image, iuv = np.asarray(read_image(path)), np.asarray(read_iuv(drawn / f"train_densepose/{path.stem}.png"))
        expected = TextureMapper()(image, np.ascontiguousarray(iuv[..., ::-1]))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/{path.stem}.png")), expected)


def test_a_second_run_makes_what_is_missing_or_damaged(drawn, tmp_path, capsys):
    words = list(
        map(str, ["prepare", "texture", "--images", drawn / "train", "--out", tmp_path / "out", "--workers", 1])
    )
    assert main(words) == 0
    first, second = sorted((tmp_path / "out").glob("*.png"))
    content = first.read_bytes()
    first.write_bytes(content[:100])
    second.unlink()
    assert main(words) == 0
    assert first.read_bytes() == content
    assert second.is_file()
    assert main(words) == 0
    assert "0 textures made, 2 there already" in capsys.readouterr().out


def test_failures_are_listed_and_the_rest_is_made(drawn, tmp_path, capsys):
    for folder in ("photos", "photos_densepose"):
        (tmp_path / folder).mkdir()
    source = min((drawn / "train").glob("*.jpg"))
    for name in ("good", "no_iuv", "other_size"):
        (tmp_path / f"photos/{name}.jpg").write_bytes(source.read_bytes())
        iuv = Image.open(drawn / f"train_densepose/{source.stem}.png")
        if name != "no_iuv":
            iuv.resize((9, 9), 0).save(tmp_path / f"photos_densepose/{name}.png")
        if name == "good":
            iuv.save(tmp_path / f"photos_densepose/{name}.png")
    assert main(["prepare", "texture", "--images", str(tmp_path / "photos"), "--workers", "1"]) == 1
    output = capsys.readouterr().out
    assert "1 textures made" in output
    assert "no_iuv.jpg: DensePose's map not found" in output
    assert "other_size.jpg: the picture is 88x128, its DensePose map 9x9" in output
    assert [path.name for path in (tmp_path / "photos_texture").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "nowhere"], "nowhere"),
        (["--images", "{drawn}/train", "--workers", "0"], "--workers"),
        (["--images", "{drawn}/train", "--mask", "{drawn}/train.csv"], "chart mask"),
        (["--images", "{drawn}/train_face", "--iuv", "{drawn}/train"], "no pictures"),
    ],
)
def test_wrong_input_is_named(drawn, words, message, capsys):
    assert main(["prepare", "texture", *(word.format(drawn=drawn) for word in words)]) == 2
    assert message in capsys.readouterr().err
