import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from tests.compose.options import options
from xpaste_ray.compose.looks import draw_looks
from xpaste_ray.rng import rng_for


def _looks(*changes, count=4000):
    return draw_looks(rng_for(0, "test"), count, options(*changes))


@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_flips_and_colours_have_their_probabilities(probability):
    """4,000 draws, within 5 standard deviations."""
    looks = _looks(
        f"flip_probability={probability}", f"colour={{jitter: [0.2, 0, 0, 0], probability: {probability}}}"
    )
    error = 5 * np.sqrt(4000 * probability * (1 - probability))
    assert abs(sum(look.flip for look in looks) - 4000 * probability) <= error
    assert abs(sum(look.colour is not None for look in looks) - 4000 * probability) <= error


def test_angles_are_uniform_to_both_sides():
    angles = [look.angle_deg for look in _looks("rotation_deg=30")]
    assert kstest(angles, "uniform", (-30, 60)).pvalue > 1e-4


def test_colour_changes_are_uniform_about_none():
    """Factors 0.8 to 1.2 of brightness, 0.9 to 1.1 of contrast, none of saturation, a hue of -0.3 to 0.3."""
    looks = _looks("colour={jitter: [0.2, 0.1, 0, 0.3], probability: 1}")
    found = np.array(
        [(c.brightness, c.contrast, c.saturation, c.hue) for look in looks if (c := look.colour)]
    )
    for values, low, width in zip(found[:, (0, 1, 3)].T, (0.8, 0.9, -0.3), (0.4, 0.2, 0.6), strict=True):
        assert kstest(values, "uniform", (low, width)).pvalue > 1e-4
    assert set(found[:, 2]) == {1.0}


def test_blends_of_a_list_and_lengths_of_motion_are_drawn_alike():
    looks = _looks("blend=[hard, gaussian, motion]")
    assert chisquare(np.unique([look.blend for look in looks], return_counts=True)[1]).pvalue > 1e-4
    lengths = [look.motion[0] for look in looks if look.motion]
    assert chisquare(np.unique(lengths, return_counts=True)[1]).pvalue > 1e-4 and set(lengths) == {3, 5, 7, 9}
    assert all((look.motion is None) == (look.blend != "motion") for look in looks)


def test_a_setting_of_one_look_does_not_move_the_others():
    """Each look has draws of its own, so comparing two datasets compares what was changed."""
    plain, turned = _looks(count=50), _looks("rotation_deg=30", count=50)
    assert [look.flip for look in plain] == [look.flip for look in turned]
