import subprocess
import sys

import numpy as np
import pytest

from xpaste_ray.config.segment import SaliencyMethod
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.saliency import SaliencySegmenter
from xpaste_ray.models.segmenters import Shown


@pytest.fixture
def rembg():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("rembg")


@pytest.fixture
def network(rembg, tmp_path):
    """Writes a network as U2-Net's file is: its first output is `scale` times the normalised red channel."""
    onnx = pytest.importorskip("onnx")

    def save(scale, side=320, offset=0.0):
        helper, floats = onnx.helper, onnx.TensorProto.FLOAT
        constants = {
            "red": np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1) * scale,
            "offset": np.full((1, 1, 1, 1), offset, np.float32),
        }
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["input", "red"], ["scaled"]),
                helper.make_node("Add", ["scaled", "offset"], ["d0"]),
                helper.make_node("Neg", ["d0"], ["d1"]),
            ],
            "u2net",
            [helper.make_tensor_value_info("input", floats, [1, 3, side, side])],
            [helper.make_tensor_value_info(name, floats, [1, 1, side, side]) for name in ("d0", "d1")],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / "own" / "network.onnx"
        path.parent.mkdir(exist_ok=True)
        onnx.save(model, path)
        return path

    return save


def segmenter(path, **options):
    return SaliencySegmenter(SaliencyMethod(kind="saliency", model=str(path), **options))


def half_red(size_hw=(100, 80)):
    """Red 255 in the left half, 51 in the right."""
    image = np.full((*size_hw, 3), 51, np.uint8)
    image[:, : size_hw[1] // 2, 0] = 255
    return Shown("one", "frog", image)


def test_first_output_is_stretched_and_enlarged(network):
    ((one,),) = segmenter(network(1.0))([half_red()])
    assert one.mask.shape == (100, 80) and one.mask.dtype == np.float32 and one.score == 0
    assert (one.mask[:, :36] > 0.99).all() and (one.mask[:, 44:] < 0.01).all()


def test_without_renormalisation_the_numbers_are_the_networks_own(network):
    """Red is (1 - 0.485) / 0.229 = 2.249 and (0.2 - 0.485) / 0.229 = -1.245 after rembg's preparation."""
    ((one,),) = segmenter(network(0.1, offset=0.2), renormalise=False)([half_red()])
    assert one.mask[50, 10] == pytest.approx(0.2 + 0.2249, abs=1e-3)
    assert one.mask[50, 70] == pytest.approx(0.2 - 0.1245, abs=1e-3)


def test_isnet_takes_images_as_isnet_does(network):
    """(1 - 0.5) / 1 and (0.2 - 0.5) / 1, at 1,024 pixels."""
    path = network(0.5, side=1024, offset=0.5)
    ((one,),) = segmenter(path, network="isnet", renormalise=False)([half_red()])
    assert one.mask[50, 10] == pytest.approx(0.75, abs=1e-3)
    assert one.mask[50, 70] == pytest.approx(0.35, abs=1e-3)


@pytest.mark.parametrize(("renormalise", "value"), [(True, 0), (False, 0.3)])
def test_constant_mask_is_empty_and_not_nan(network, renormalise, value):
    """rembg's own way divides by zero here."""
    ((one,),) = segmenter(network(0.0, offset=0.3), renormalise=renormalise)([half_red()])
    assert np.allclose(one.mask, value)


def test_images_are_computed_one_at_a_time(network):
    method = segmenter(network(1.0))
    assert method.micro_batch == 1
    masks = method([half_red(), half_red((30, 50))])
    assert [one.mask.shape for (one,) in masks] == [(100, 80), (30, 50)]


def test_file_of_the_other_network_is_refused(network):
    with pytest.raises(ConfigError, match="isnet takes 1024 x 1024 pixels, and the model 320 x 320"):
        segmenter(network(1.0), network="isnet")


def test_file_that_is_no_network_is_refused(rembg, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ConfigError, match=r"model: onnxruntime cannot load 'broken.onnx'"):
        segmenter(tmp_path / "broken.onnx")


@pytest.mark.parametrize("name", ["missing.onnx", "model.pth", "."])
def test_model_must_be_an_onnx_file_that_is_there(rembg, tmp_path, name):
    (tmp_path / "model.pth").touch()
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: .* is no .onnx file: give one"):
        segmenter(tmp_path / name)


_WITHOUT = """
import sys
sys.modules[{name!r}] = None
from xpaste_ray.config.segment import SaliencyMethod
from xpaste_ray.models.saliency import SaliencySegmenter
try:
    SaliencySegmenter(SaliencyMethod(kind="saliency", model="u2net.onnx"))
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["onnxruntime", "rembg"])
def test_missing_extra_says_how_to_install_it(name):
    """In a process of its own: without onnxruntime, rembg ends the process that imports it."""
    if name == "rembg":
        pytest.importorskip("onnxruntime")
    told = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(name=name)], capture_output=True, text=True, check=True
    ).stdout
    assert told == f"segment.methods.*: kind saliency needs {name}: pip install 'xpaste-ray[saliency]'\n"
