from dataclasses import replace

import numpy as np
import pytest

from tests.models.blips import picture, save_blip
from xpaste_ray.config.contexts import BlipCaptions
from xpaste_ray.records import Candidate, Prompt
from xpaste_ray.stages.caption import CaptionStage


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = save_blip(tmp_path_factory.mktemp("blip"))
    return BlipCaptions(kind="blip", model=str(folder), micro_batch=4)


def read(number):
    return Candidate(Prompt(f"image-{number}", 0, "image", number, "images"), image=picture(number))


def captions(done):
    return [candidate.captions for candidate in done]


def test_every_image_gets_its_captions_and_loses_its_pixels(settings):
    done = CaptionStage(settings, seed=0)([read(0), read(1)])
    assert [(one.status, len(one.captions), one.image) for one in done] == [("ok", 2, None)] * 2
    assert all(caption for several in captions(done) for caption in several)


def test_captions_depend_on_the_seed_and_on_no_neighbour(settings):
    stage = CaptionStage(settings, seed=0)
    five = [read(i) for i in range(5)]
    together = captions(stage(five))
    assert captions(stage(five[::-1])) == together[::-1]
    assert [captions(stage([one]))[0] for one in five] == together
    assert captions(CaptionStage(settings, seed=1)(five)) != together


def test_unreadable_image_stays_rejected_and_its_neighbours_get_captions(settings):
    lost = replace(read(1), image=None, status="rejected", reason="unreadable")
    done = CaptionStage(settings, seed=0)([read(0), lost, read(2)])
    assert [one.reason for one in done] == [None, "unreadable", None]
    assert done[1].captions == () and done[0].captions and done[2].captions


def test_image_that_raises_is_rejected_alone(settings):
    broken = replace(read(1), image=np.zeros((0, 0, 3), np.uint8))
    done = CaptionStage(settings, seed=0)([read(0), broken])
    assert [one.reason for one in done] == [None, "caption_failed"]
