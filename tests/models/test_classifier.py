import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.shapes import CATEGORIES, COLOURS, disc_image, resnet_settings
from xpaste_ray.categories import Category
from xpaste_ray.config.classifier import ClipClassifier, TrainedClassifier
from xpaste_ray.embedded import CLIP_CATEGORIES, CLIP_DIR, DIFFUSION_CATEGORIES
from xpaste_ray.embedded.scenes import CLIP_STYLE, compose_scene
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.cam import activation_centre_yx
from xpaste_ray.models.classifier import (
    Classifier,
    CutClipResNet,
    CutResNet,
    grad_cam,
    open_classifier,
    relevance_of,
)
from xpaste_ray.models.classifier_files import MODEL_OPTION, WEIGHTS_OPTION, card_of, card_text
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.resnet import load_body, load_resnet, new_resnet
from xpaste_ray.rng import rng_for

pytestmark = pytest.mark.usefixtures("one_thread")

CLIP = ClipClassifier(kind="clip", model="embedded:clip")


# --- Grad-CAM ------------------------------------------------------------------------------------


def test_each_channel_counts_by_its_mean_gradient_and_what_speaks_against_is_cut_off():
    """Weights 2 and -1: the map is 2 A - B, at least 0."""
    activations = torch.tensor([[[[1.0, 0], [3, 1]], [[0.0, 4], [1, 5]]]])
    gradients = torch.tensor([[[[8.0, 0], [0, 0]], [[-1.0, -1], [-1, -1]]]])
    assert grad_cam(activations, gradients).tolist() == [[[2, 0], [5, 0]]]


def test_each_token_counts_by_its_own_gradient():
    tokens, gradients = torch.tensor([[[1.0, 2], [1, 2]]]), torch.tensor([[[3.0, 1], [0, -1]]])
    assert relevance_of(tokens, gradients).tolist() == [[5, 0]]


def _colour_classifier(side_px=64):
    """A real ResNet whose body is replaced by one whose channels are how red, green and blue a place is."""
    network = new_resnet("resnet18", 3).eval()
    with torch.no_grad():
        network.fc.weight.zero_()
        network.fc.weight[:, :3] = torch.eye(3)
        network.fc.bias.zero_()
    cut = CutResNet(network)

    def body(pixels):
        small = torch.nn.functional.avg_pool2d(pixels, 4)
        own = torch.relu(small - small.sum(1, keepdim=True) / 2)  # more than both others together
        return torch.cat([own, torch.zeros(len(own), 509, *own.shape[2:])], dim=1)

    cut.body = body
    return Classifier(
        cut, [one.name for one in CATEGORIES], side_px, (0, 0, 0), (1, 1, 1), "cpu", 4, "float32"
    )


@pytest.mark.parametrize("size_hw", [(64, 64), (60, 120), (150, 50)])
def test_centre_is_where_the_category_is_in_the_frame_of_any_image(size_hw):
    """A red disc and a blue one in opposite corners."""
    height, width = size_hw
    red, blue = (height // 4, width // 4), (3 * height // 4, 3 * width // 4)
    image = disc_image(1, red, size_hw)
    there = disc_image(5, blue, size_hw)
    image[height // 2 :] = there[height // 2 :]
    cams = _colour_classifier().cams([image, image], [0, 2])
    for cam, centre in zip(cams, (red, blue), strict=True):
        assert cam.shape == size_hw and cam.dtype == np.float32
        assert np.hypot(*np.subtract(activation_centre_yx(cam, 0.5), centre)) < 0.07 * max(size_hw)


# --- a trained ResNet ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a ResNet-18 of random numbers."""
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    save_file(new_resnet("resnet18", 3).state_dict(), folder / "model.safetensors")
    card = card_of(resnet_settings(side_px=32), CATEGORIES)
    (folder / "classifier.json").write_text(card_text(card))
    return folder


def _opened(folder, **options):
    return open_classifier(TrainedClassifier(kind="trained", model=str(folder), **options), ())


def _picture(seed=0):
    return rng_for(seed, "picture").integers(0, 256, (32, 32, 3)).astype(np.uint8)


def test_feature_is_the_mean_of_the_last_convolution_and_probabilities_are_of_each_category_by_itself(
    trained,
):
    (looked,) = _opened(trained).look([_picture()])
    network = load_resnet(trained, "resnet18", 3, MODEL_OPTION)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.from_numpy(_picture()) / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network(pixels)[0].sigmoid().numpy()
        network.fc = torch.nn.Identity()
        feature = network(pixels)[0].numpy()
    assert looked.feature.shape == (512,) and looked.feature.dtype == np.float32
    assert np.allclose(looked.feature, feature, atol=1e-5)
    assert np.allclose(looked.probabilities, expected, atol=1e-5)


def test_gradients_of_a_resnet_are_those_of_its_last_layer(trained):
    """So its Grad-CAM is the class activation map: the weights of the output, above 0."""
    classifier, network = _opened(trained), load_resnet(trained, "resnet18", 3, MODEL_OPTION)
    torch.manual_seed(1)
    activations = torch.rand(512, 4, 4)
    expected = torch.relu(torch.einsum("k,khw->hw", network.fc.weight[1], activations) / 16).detach()
    cam = classifier.cam(activations.numpy(), 1, (4, 4))
    assert cam.max() == pytest.approx(float(expected.max()), abs=float(expected.max()) * 0.3)
    coarse = torch.nn.functional.avg_pool2d(
        torch.from_numpy(classifier.cam(activations.numpy(), 1, (32, 32)))[None], 8
    )
    assert np.corrcoef(coarse.flatten(), expected.flatten())[0, 1] > 0.9


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_result_does_not_depend_on_the_other_pictures(trained, dtype):
    classifier = _opened(trained, dtype=dtype)
    assert classifier.micro_batch == 1  # on CPU
    (alone,), (again,) = classifier.look([_picture(1)]), classifier.look([_picture(1)])
    assert np.array_equal(alone.feature, again.feature) and alone.feature.dtype == np.float32


def test_category_is_found_by_its_name(trained):
    classifier = _opened(trained)
    assert [classifier.output_of(name) for name in ("red", "Green", "blue", "mauve")] == [0, 1, 2, None]


def test_classifier_that_is_not_trained_yet_is_refused():
    with pytest.raises(ConfigError, match="not trained yet"):
        open_classifier(resnet_settings(), CATEGORIES)


def test_weights_of_other_outputs_than_the_card_says_are_refused(trained, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(trained / "model.safetensors")
    told = json.loads((trained / "classifier.json").read_text())
    for changes in ({"categories": told["categories"][:2]}, {"arch": "resnet34"}):
        (tmp_path / "classifier.json").write_text(json.dumps({**told, **changes}))
        with pytest.raises(ConfigError, match="foregrounds.classifier.model: .* does not hold the weights"):
            _opened(tmp_path)


def test_body_is_taken_from_weights_of_other_outputs_also_as_timm_writes_them(trained, tmp_path):
    """timm's files say nothing of how often a normalisation was updated."""
    state = load_file(trained / "model.safetensors")
    timm = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    save_file(
        {**timm, "fc.weight": torch.zeros(9, 512), "fc.bias": torch.zeros(9)}, tmp_path / "model.safetensors"
    )
    network = new_resnet("resnet18", 2)
    head = network.fc.weight.clone()
    load_body(network, tmp_path, "resnet18", WEIGHTS_OPTION)
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    assert torch.equal(network.fc.weight, head) and head.shape == (2, 512)


@pytest.mark.parametrize("arch", ["resnet34", "resnet50"])
def test_body_of_another_depth_is_refused(trained, arch):
    with pytest.raises(ConfigError, match=f"foregrounds.classifier.weights: .* weights of {arch}"):
        load_body(new_resnet(arch, 2), trained, arch, WEIGHTS_OPTION)


# --- CLIP ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    return open_classifier(CLIP, [Category(i, name) for i, name in enumerate(CLIP_CATEGORIES)])


def _scene(name):
    return compose_scene(rng_for(0, "test-classifier", name), name, CLIP_STYLE, 64)


def test_clip_tells_the_shipped_objects_apart_without_training(clip):
    right = [
        clip.look([_scene(name)[0]])[0].probabilities.argmax() == clip.output_of(name)
        for name in DIFFUSION_CATEGORIES
    ]
    assert np.mean(right) >= 0.9


def test_clips_feature_is_its_embedding_and_probabilities_sum_to_one(clip):
    image, _ = _scene("banana")
    (looked,) = clip.look([image])
    (expected,) = ClipModel(CLIP_DIR).embed_images([image])
    assert np.allclose(looked.feature, expected, atol=1e-5)
    assert looked.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_logit_scale_sharpens_probabilities():
    """exp(scale x cosine), divided by the sum: a scale of nearly nothing makes all alike."""
    categories = [Category(1, "banana"), Category(2, "frog")]
    flat = open_classifier(CLIP.model_copy(update={"logit_scale": 1e-6}), categories)
    assert flat.look([_scene("banana")[0]])[0].probabilities == pytest.approx([0.5, 0.5], abs=1e-4)


def test_clip_sees_categories_where_their_objects_are(clip):
    """Of all that the maps hold, the objects have twice their share of the area."""
    gains = []
    for name in DIFFUSION_CATEGORIES:
        image, alpha = _scene(name)
        (cam,) = clip.cams([image], [clip.output_of(name)])
        inside = alpha > 0.5
        gains.append(cam[inside].sum() / cam.sum() / inside.mean())
    assert np.mean(gains) > 2


def test_clip_with_a_resnet_is_cut_before_its_pooling():
    torch.manual_seed(0)
    visual = open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 16, 4, image_size=64, width=8).eval()
    texts = torch.nn.functional.normalize(torch.randn(3, 16), dim=1)
    cut = CutClipResNet(visual.requires_grad_(False), texts, 100.0)
    pixels = torch.randn(2, 3, 64, 64)
    activations = cut.body(pixels)
    features, logits = cut.head(activations)
    assert activations.shape == (2, 256, 2, 2)
    expected = torch.nn.functional.normalize(visual(pixels), dim=1)
    assert torch.allclose(features, expected, atol=1e-5)
    assert torch.allclose(logits, 100 * expected @ texts.T, atol=1e-3)
    assert cut.seen(activations, torch.ones_like(activations)).shape == (2, 2, 2)


def test_colours_of_the_discs_are_what_the_hand_made_network_sees():
    """Each is more than the two others together."""
    assert all(max(colour) > sum(colour) / 2 for colour in COLOURS.values())
