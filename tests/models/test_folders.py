import numpy as np
import pytest
from safetensors.numpy import save_file

from xpaste_ray.embedded import CLIP_DIR
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_folder
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder
from xpaste_ray.storage import locate


def _find(model):
    return model_folder(str(model), "score.model", OPEN_CLIP_FILE)


@pytest.fixture
def folder(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / OPEN_CLIP_FILE).write_text("{}")
    return tmp_path


def test_embedded_models_and_local_folders_are_found(folder):
    assert _find("embedded:clip") == CLIP_DIR
    assert _find(folder) == folder


@pytest.mark.parametrize("name", ["model.bin", "weights/model.ckpt"])
def test_pickles_are_refused_even_beside_safetensors(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    with pytest.raises(ConfigError, match="a pickle.*convert the weights to safetensors"):
        _find(folder)


def test_folder_without_safetensors_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="score.model: .* holds no .safetensors file"):
        _find(folder)


@pytest.mark.parametrize("data", [b"", b"version https://git-lfs.github.com/spec/v1", b"\x08" + b"\0" * 30])
def test_file_that_is_not_whole_is_refused(folder, data):
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ConfigError, match="is not a whole safetensors file.*fetch it again"):
        _find(folder)


def test_folder_without_its_description_is_refused(folder):
    (folder / OPEN_CLIP_FILE).unlink()
    with pytest.raises(ConfigError, match="holds no open_clip_config.json"):
        _find(folder)


@pytest.mark.parametrize("model", ["/no/such", ""])
def test_missing_folder_says_what_to_give(model):
    with pytest.raises(ConfigError, match="does not exist: give a folder with safetensors"):
        model_folder(model, "score.model", OPEN_CLIP_FILE)


def test_unknown_embedded_model_names_the_nearest():
    with pytest.raises(ConfigError, match="no embedded model 'embedded:clap'; did you mean 'embedded:clip'"):
        _find("embedded:clap")


def test_model_in_an_object_store_is_copied_once_a_node(s3, tmp_path, monkeypatch):
    bucket = s3()
    for path in CLIP_DIR.iterdir():
        (locate(bucket) / "models" / "mini" / path.name).upload(path)
    monkeypatch.setenv("XPASTE_CACHE_DIR", str(tmp_path / "node"))
    folder = model_folder(f"{bucket}/models/mini", "score.model", OPEN_CLIP_FILE)
    assert folder.is_relative_to(tmp_path / "node") and hash_folder(folder) == hash_folder(CLIP_DIR)
    with pytest.raises(ConfigError, match=r"s3://.*/models/other' does not exist"):
        model_folder(f"{bucket}/models/other", "score.model", OPEN_CLIP_FILE)
