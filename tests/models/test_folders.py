import pytest

from xpaste_ray.embedded import CLIP_DIR
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import model_folder


def test_embedded_models_and_local_folders_are_found(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert model_folder("embedded:clip", "score.model") == CLIP_DIR
    assert model_folder(str(tmp_path), "score.model") == tmp_path


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "holds no .safetensors file"),
        (("model.bin",), "model.bin, a pickle.*convert the weights to safetensors"),
        (("model.safetensors", "model.ckpt"), "model.ckpt, a pickle"),
    ],
)
def test_folder_with_other_weights_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f"score.model: .*{message}"):
        model_folder(str(tmp_path), "score.model")


def test_missing_folder_and_unknown_embedded_model_say_what_to_give():
    with pytest.raises(ConfigError, match="source.model: the model folder '/no/such' does not exist: give"):
        model_folder("/no/such", "source.model")
    with pytest.raises(ConfigError, match="no embedded model 'embedded:clap'; did you mean 'embedded:clip'"):
        model_folder("embedded:clap", "score.model")
