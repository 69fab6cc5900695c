import pytest

from xpaste_ray.serve.negotiation import best_of

OFFERED = ("application/zip", "application/x-npz", "image/png", "image/jpeg")


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (None, "application/zip"),
        ("", "application/zip"),
        ("*/*", "application/zip"),
        ("application/x-npz", "application/x-npz"),
        ("APPLICATION/X-NPZ", "application/x-npz"),
        ("image/*", "image/png"),
        ("image/*;q=0.5, application/x-npz;q=0.9", "application/x-npz"),
        ("application/x-npz;q=0.1, image/jpeg", "image/jpeg"),
        ("image/png;q=0.3, image/*;q=0.8", "image/jpeg"),  # the more specific one decides of png
        ("*/*, application/zip;q=0", "application/x-npz"),
        ("application/zip;q=0", None),
        ("application/zip;q=0, */*;q=0.1", "application/x-npz"),
        ("text/html", None),
        ("text/html, */*;q=0.1", "application/zip"),
        ("application/zip;q=nonsense, image/png;q=0.1", "image/png"),
        ("application/zip;q=nan, image/png;q=0.1", "image/png"),
        ("application/zip ; q = 0.2 , image/png ; q=0.3", "image/png"),
        (",,;;==", None),
    ],
)
def test_the_form_is_the_one_that_accept_likes_best(accept, best):
    assert best_of(accept, OFFERED) == best
