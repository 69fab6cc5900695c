import numpy as np
import pytest
from PIL import Image

from xpaste_ray.backgrounds import index_backgrounds


@pytest.fixture
def backgrounds(tmp_path):
    """Two grey photographs of 48 x 32 px."""
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.full((32, 48, 3), 100 + number, np.uint8)).save(folder / f"{number}.png")
    return index_backgrounds(folder)
