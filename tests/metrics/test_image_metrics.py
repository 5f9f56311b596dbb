"""SSIM and PSNR against scikit-image, and what a user sees when input or weights are wrong."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pgpis.errors import PgpisError
from pgpis.metrics import PSNR, SSIM, to_uint8
from pgpis.pictures.images import tensor_to_images


def pairs(batch: int, height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise in smooth patches, and the same with more noise: neither equal nor unrelated."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, (height + 6) // 7, (width + 6) // 7, generator=generator, dtype=torch.float64)
    target = coarse.repeat_interleave(7, 2).repeat_interleave(7, 3)[..., :height, :width]
    noise = torch.rand(target.shape, generator=generator, dtype=torch.float64)
    return (0.8 * target + 0.2 * noise).clamp(0, 1), target


def rows(images: torch.Tensor) -> list[np.ndarray]:
    return list(images.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(("height", "width"), [(64, 52), (51, 90), (75, 53)])
@pytest.mark.parametrize("window_size", [7, 31, 51])
def test_uniform_ssim_equals_skimage(height, width, window_size):
    generated, target = pairs(3, height, width)
    ours = SSIM(window_size=window_size).pair_values(generated, target)
    official = [
        structural_similarity(a, b, win_size=window_size, data_range=1, channel_axis=2)
        for a, b in zip(rows(target), rows(generated), strict=True)
    ]
    np.testing.assert_allclose(ours, official, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(11, 40), (64, 44)])
@pytest.mark.parametrize("sigma", [0.8, 1.5])
def test_gaussian_ssim_equals_skimage(height, width, sigma):
    generated, target = pairs(3, height, width)
    ours = SSIM("gaussian", sigma=sigma).pair_values(generated, target)
    official = [
        structural_similarity(
            a * 255,
            b * 255,
            gaussian_weights=True,
            sigma=sigma,
            use_sample_covariance=False,
            data_range=(b * 255).max() - (b * 255).min(),
            channel_axis=2,
        )
        for a, b in zip(rows(target), rows(generated), strict=True)
    ]
    np.testing.assert_allclose(ours, official, atol=1e-6)


def test_psnr_equals_skimage_and_is_infinite_for_equal_pictures():
    generated, target = pairs(3, 20, 31)
    official = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(rows(target), rows(generated), strict=True)]
    np.testing.assert_allclose(PSNR().pair_values(generated, target), official, atol=1e-9)
    assert PSNR().pair_values(target, target).isposinf().all()


@pytest.mark.parametrize("metric", [PSNR(), SSIM(window_size=9), SSIM("gaussian")], ids=["psnr", "uniform", "gaussian"])
def test_mean_over_batches_and_values_of_each_pair(metric):
    generated, target = (to_uint8(images * 2 - 1) for images in pairs(5, 24, 18))
    whole = metric.pair_values(generated, target)
    metric.reset()
    seen = []
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(generated[part], target[part])
        seen.append(metric.last_values)
    torch.testing.assert_close(torch.cat(seen), whole)
    assert metric.result() == pytest.approx(whole.mean().item())
    assert metric.compute().item() == pytest.approx(whole.mean().item())
    floats = metric.pair_values(generated.double() / 255, target.double() / 255)
    torch.testing.assert_close(floats, whole)


@pytest.mark.parametrize("variant", ["uniform", "gaussian"])
def test_ssim_is_one_for_equal_pictures_and_finite_for_blank_ones(variant):
    _, target = pairs(2, 60, 60)
    metric = SSIM(variant)
    torch.testing.assert_close(metric.pair_values(target, target), torch.ones(2, dtype=torch.float64))
    assert metric.pair_values(torch.zeros_like(target), torch.zeros_like(target)).isfinite().all()
    assert (metric.pair_values(torch.zeros_like(target), target) < 0.5).all()


def test_infinite_values_are_left_out_of_the_mean_and_counted():
    generated, target = pairs(3, 20, 18)
    metric = PSNR()
    metric.update(target, target)
    assert metric.result() == np.inf
    metric.update(generated, target)
    assert (metric.result(), int(metric.infinite)) == (PSNR().pair_values(generated, target).mean().item(), 3)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_pairs_is_not_a_number():
    assert PSNR().result() == "not computed: no pairs"


@pytest.mark.parametrize(
    ("generated", "target", "message"),
    [
        (torch.zeros(1, 3, 60, 60), torch.zeros(2, 3, 60, 60), "compare two batches"),
        (torch.zeros(1, 60, 60, 3), torch.zeros(1, 60, 60, 3), "compare two batches"),
        (torch.full((1, 3, 60, 60), -0.5), torch.zeros(1, 3, 60, 60), r"generated pictures span \[-0.5"),
        (torch.zeros(1, 3, 60, 60), torch.full((1, 3, 60, 60), torch.nan), "target pictures span"),
        (torch.zeros(1, 3, 60, 60, dtype=torch.int64), torch.zeros(1, 3, 60, 60), "int64"),
        (torch.zeros(1, 3, 60, 40), torch.zeros(1, 3, 60, 40), "smaller than the window of 51x51"),
    ],
)
def test_wrong_input_is_named(generated, target, message):
    with pytest.raises(PgpisError, match=message):
        SSIM().update(generated, target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "gausian"}, "did you mean 'gaussian'"),
        ({"window_size": 50}, "odd"),
        ({"variant": "gaussian", "sigma": 0.0}, "sigma"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(PgpisError, match=message):
        SSIM(**arguments)


def test_quantised_as_the_pictures_on_disk():
    images = torch.linspace(-1.2, 1.2, 3 * 40 * 40).reshape(1, 3, 40, 40)
    on_disk = torch.from_numpy(np.asarray(tensor_to_images(images)[0]).copy()).permute(2, 0, 1)
    assert torch.equal(to_uint8(images)[0], on_disk)


def test_torch_keeps_its_number_of_threads():
    """With its first threads numba sets it to all cores, and sums of features get other last bits."""
    torch.set_num_threads(1)
    pictures = torch.zeros(8, 3, 256, 176, dtype=torch.uint8)
    SSIM("uniform").pair_values(pictures, pictures)
    assert torch.get_num_threads() == 1
