"""The table, the JSON and the plots of a study."""

import json

import cv2
import numpy as np
import pytest

from xpaste_ray.studies import TrainedOnce, results_of
from xpaste_ray.studies.plots import study_plots
from xpaste_ray.studies.tables import study_markdown

NAMES = ("ap", "ap50", "rare", "common", "frequent")


def trained(ap, rare=None, validated=()):
    scores = {"ap": ap, "ap50": None, "rare": rare, "common": None, "frequent": None}
    return TrainedOnce("arms/x/seed-0", {"segm": scores, "bbox": dict.fromkeys(NAMES)}, validated)


def results(seeds=(0, 1), **arms):
    return results_of("tiny", "A title", seeds, "real", arms)


REAL = {0: trained(0.30), 1: trained(0.32)}
PASTED = {0: trained(0.31), 1: trained(0.35)}


def test_a_measure_that_no_training_has_is_left_out():
    assert [one.key for one in results(real=REAL).measures] == ["segm.ap"]
    assert [one.key for one in results(real={0: trained(0.3, rare=0.1)}).measures] == ["segm.ap", "segm.rare"]


def test_table_has_mean_spread_and_difference_with_its_interval():
    """Differences +0.01 and +0.03: mean 0.02, deviation 0.01414, half-width 12.706 x 0.01 = 0.127."""
    lines = study_markdown(results(real=REAL, pasted=PASTED)).splitlines()
    assert "| real | 2 | 31.0 ± 1.4 |" in lines
    assert "| pasted | 2 | 33.0 ± 2.8 |" in lines
    assert "| pasted | +2.0 [-10.7, +14.7] |" in lines


def test_table_of_one_seed_says_that_there_is_no_interval():
    text = study_markdown(results((0,), real={0: trained(0.3)}, pasted={0: trained(0.4)}))
    assert "Of one seed: no interval can be told." in text
    assert "| pasted | +10.0 |" in text


def test_table_says_what_is_not_done_yet():
    assert "| real | 1 of 2 | 30.0 |" in study_markdown(results(real={0: trained(0.3)}))


def test_json_has_every_run_and_what_follows():
    told = json.loads(json.dumps(results(real=REAL, pasted=PASTED).to_json({"preset": "demo"})))
    real, pasted = told["arms"]
    assert [run["scores"]["segm.ap"] for run in real["runs"]] == [0.30, 0.32]
    assert real["difference"] == {} and real["summary"]["segm.ap"]["n"] == 2
    assert pasted["difference"]["segm.ap"]["mean"] == pytest.approx(0.02)
    assert told["baseline"] == "real" and told["settings"] == {"preset": "demo"}


def test_plots_are_of_what_there_is_and_the_same_bytes_each_time():
    few = study_plots(results(real=REAL))
    assert list(few) == ["ap.png"]
    rare = {0: trained(0.3, rare=0.2, validated=((20, 0.1), (40, None)))}
    all_of_them = study_plots(results(real=rare))
    assert list(all_of_them) == ["ap.png", "frequency.png", "validation.png"]
    assert all_of_them == study_plots(results(real=rare))
    for data in all_of_them.values():
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).std() > 0


def test_a_training_that_was_judged_once_is_seen_in_the_plot():
    """A single point has no line; left of the legend, C0's blue is the arm's."""
    data = study_plots(results(real={0: trained(0.3, validated=((600, 0.16),))}))["validation.png"]
    left = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :500]
    assert (left == (180, 119, 31)).all(axis=2).any()
