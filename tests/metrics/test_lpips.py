"""LPIPS with weights made here, and without weights."""

import lpips
import pytest
import torch
import torchvision

from pgpis.errors import PgpisError
from pgpis.metrics import LPIPS
from pgpis.weight_files import CATALOGUE


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    features = torchvision.models.alexnet(weights=None, num_classes=1).features
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    state["classifier.6.bias"] = torch.zeros(1000)  # the published file holds the classifier as well
    folder = tmp_path_factory.mktemp("alexnet")
    torch.save(state, folder / CATALOGUE["lpips-alexnet"].files[0])
    return folder


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, 3, 64, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("normalize", [True, False])
def test_equals_the_package_with_the_same_weights(weights, pictures, normalize):
    generated, target = pictures
    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = torch.load(weights / CATALOGUE["lpips-alexnet"].files[0], weights_only=True)
    for name, parameter in network.net.named_parameters():
        parameter.data.copy_(state["features." + name.split(".", 1)[1]])
    expected = network(generated, target, normalize=normalize).flatten().double()
    metric = LPIPS(weights, normalize=normalize)
    metric.update(generated, target)
    torch.testing.assert_close(metric.last_values, expected.detach(), atol=1e-7, rtol=1e-5)
    assert metric.result() == pytest.approx(expected.mean().item(), rel=1e-5)
    assert metric.pair_values(target, target).abs().max() == 0


def test_pictures_may_be_as_small_as_the_net_takes(weights, pictures):
    generated, target = pictures[..., :31, :31]
    assert LPIPS(weights).pair_values(generated, target).isfinite().all()
    with pytest.raises(PgpisError, match="LPIPS: pictures of 30x31 pixels are smaller than the window of 31x31"):
        LPIPS(weights).pair_values(generated[..., :30, :], target[..., :30, :])


def test_weights_stay_out_of_checkpoints(weights):
    assert not LPIPS(weights).state_dict()
    assert not list(LPIPS(weights).parameters())


def test_without_weights_says_what_is_missing(tmp_path, pictures, caplog):
    metric = LPIPS(tmp_path / "nowhere")
    missing = str(tmp_path / "nowhere" / CATALOGUE["lpips-alexnet"].files[0])
    metric.update(*pictures)
    assert str(metric.result()).startswith(f"not computed: missing {missing}, get it with: pgpis weights fetch ")
    assert missing in caplog.text
    with pytest.raises(PgpisError, match="not computed"):
        metric.compute()
    with pytest.raises(PgpisError, match="not computed"):
        metric.pair_values(*pictures)


def test_looks_in_torch_hubs_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("PGPIS_WEIGHTS", str(tmp_path / "own"))
    name = CATALOGUE["lpips-alexnet"].files[0]
    assert str(tmp_path / "own" / name) in str(LPIPS().result())
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints" / name).write_bytes(b"")
    with pytest.raises(PgpisError, match="hub"):
        LPIPS()


def save_other_network(path):
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"not weights"), "cannot read the weights"),
        (lambda path: path.write_bytes(b""), "cannot read the weights"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
        (save_other_network, "not torchvision's AlexNet"),
    ],
    ids=["garbage", "empty", "no-state-dict", "squeezenet"],
)
def test_wrong_file_is_named(tmp_path, write, message):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(PgpisError, match=message) as caught:
        LPIPS(path)
    assert str(path) in str(caught.value)
