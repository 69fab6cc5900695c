import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """As the demo's stages have it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
