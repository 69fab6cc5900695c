import pytest
import torch
import torchvision
from safetensors.torch import save_file

from xpaste_ray.config import DetectorSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.detector_network import empty_network, load_network, new_network, rest_body

SMALL = DetectorSettings(arch="resnet18_fpn", side_px=64)


@pytest.mark.parametrize("arch", ["resnet50_fpn", "resnet50_fpn_v2"])
def test_wide_networks_are_torchvisions(arch):
    """Names and shapes of all weights: its own fit."""
    theirs = getattr(torchvision.models.detection, f"maskrcnn_{arch}")(
        weights=None, weights_backbone=None, num_classes=4
    )
    ours = empty_network(DetectorSettings(arch=arch), categories=3).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_small_network_is_small():
    weights = sum(value.numel() for value in empty_network(SMALL, 32).parameters())
    assert weights < 13e6  # of a ResNet-18 11.2


def test_seed_makes_the_network_and_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (new_network(SMALL, 3, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.body.conv1.weight"], other["backbone.body.conv1.weight"])


def test_body_of_a_resnet_is_taken_up(tmp_path):
    body = torchvision.models.resnet18(weights=None).state_dict()
    save_file(body, tmp_path / "model.safetensors")
    network = new_network(SMALL.model_copy(update={"weights": str(tmp_path)}), 3, 0).state_dict()
    for name, value in body.items():
        if not name.startswith("fc."):
            assert torch.equal(network[f"backbone.body.{name}"], value)


def test_detector_of_other_categories_gives_all_but_its_outputs(tmp_path):
    other = new_network(SMALL, 7, 5).state_dict()
    save_file(other, tmp_path / "model.safetensors")
    network = new_network(SMALL.model_copy(update={"weights": str(tmp_path)}), 3, 0).state_dict()
    fresh = new_network(SMALL, 3, 0).state_dict()
    outputs = {name for name, value in network.items() if value.shape != other[name].shape}
    assert {name.split(".")[1] for name in outputs} == {"box_predictor", "mask_predictor"}
    assert all(torch.equal(network[name], (fresh if name in outputs else other)[name]) for name in network)


def test_weights_of_another_body_say_what_to_give(tmp_path):
    save_file(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "model.safetensors")
    given = DetectorSettings(arch="resnet50_fpn", weights=str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"train.detector.weights: .* does not hold .* give those of a resnet50"
    ):
        new_network(given, 3, 0)


def test_damaged_weights_say_what_to_give(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ConfigError, match="--weights: model.safetensors of .* is not what its detector.json says"
    ):
        load_network(tmp_path, SMALL, 3, "--weights")


def test_rested_body_keeps_its_first_level_and_its_normalisation():
    network = new_network(SMALL, 3, 0).train()
    rest_body(network)
    body = network.backbone.body
    assert not any(p.requires_grad for p in (*body.conv1.parameters(), *body.layer1.parameters()))
    assert body.layer2[0].conv1.weight.requires_grad and not body.layer2[0].bn1.weight.requires_grad
    before = body.layer2[0].bn1.running_mean.clone()
    body(torch.rand(1, 3, 64, 64))
    assert torch.equal(before, body.layer2[0].bn1.running_mean)
