"""The segment stage: hand-made segmenters for the rules, the real GrabCut for the chain."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import disc
from tests.models.sams import picture, save_tiny_sam
from xpaste_ray.config.segment import FullMethod, GrabCutMethod, SegmentSettings
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.errors import ConfigError, DeviceLost, RowError
from xpaste_ray.models.segmenters import SoftMask
from xpaste_ray.records import Candidate, Prompt, Proposal
from xpaste_ray.rng import rng_for
from xpaste_ray.stages import segment
from xpaste_ray.stages.segment import SegmentStage

FULL = {"kind": "full"}


def _stage(methods):
    return SegmentStage(SegmentSettings.model_validate({"methods": methods}))


GRABCUT = _stage({"grabcut": {"kind": "grabcut"}})


def _candidate(number, image):
    prompt = Prompt(f"c{number}", 1, "banana", number, "diffusion", "a photo of a banana", number)
    return Candidate(prompt, image=image)


def _grey(count, side=8):
    """Candidates whose pixels all say which one it is."""
    return [_candidate(i, np.full((side, side, 3), i, np.uint8)) for i in range(count)]


def _scenes(count):
    return [
        _candidate(i, compose_scene(rng_for(0, "test-segment", i), "banana", DIFFUSION_STYLE, 64)[0])
        for i in range(count)
    ]


class _Segmenter:
    """Answers with `find(image)`; a list of masks with scores, or an exception."""

    def __init__(self, find, micro_batch=2):
        self.find, self.micro_batch, self.sizes = find, micro_batch, []

    def __call__(self, shown):
        self.sizes.append(len(shown))
        return [[SoftMask(*one) for one in self.find(each.image)] for each in shown]


def _stage_of(monkeypatch, **segmenters):
    """A stage whose methods, by name, are these segmenters."""
    built = iter(segmenters[name] for name in sorted(segmenters))
    monkeypatch.setattr(segment, "build_segmenter", lambda *_: next(built))
    return _stage(dict.fromkeys(segmenters, FULL))


def _square(top, left, side=2, value=1.0):
    """(8, 8) float32: a square on nothing."""
    mask = np.zeros((8, 8), np.float32)
    mask[top : top + side, left : left + side] = value
    return mask


def _raise(error):
    raise error


# --- proposals ------------------------------------------------------------------------------------


def test_every_image_gets_a_proposal():
    for candidate in GRABCUT(_scenes(3)):
        (proposal,) = candidate.proposals
        assert (proposal.method, proposal.ordinal, proposal.status) == ("grabcut", 0, "ok")
        assert proposal.mask.shape == (64, 64) and proposal.mask.dtype == np.uint8
        assert proposal.area_fraction == pytest.approx((proposal.mask > 128).mean())


def test_many_methods_stand_in_the_order_of_their_names():
    """Not in the order of the settings, which is no part of a recipe."""
    methods = {"whole": FULL, "tight": {"kind": "grabcut", "border_px": 8}, "cut": {"kind": "grabcut"}}
    one, other = _stage(methods), _stage(dict(reversed(methods.items())))
    (found,), (again,) = one(_scenes(1)), other(_scenes(1))
    assert [p.method for p in found.proposals] == ["cut", "tight", "whole"]
    for left, right in zip(found.proposals, again.proposals, strict=True):
        assert left.method == right.method and np.array_equal(left.mask, right.mask)
    assert found.proposals[2].area_fraction == 1 and found.proposals[2].mask.min() == 255


def test_ordinals_go_by_score_then_by_box(monkeypatch):
    """Boxes of one score from the left, then from the top."""
    squares = [(_square(5, 4), 0.5), (_square(1, 4), 0.5), (_square(5, 1), 0.5), (_square(0, 6), 0.9)]
    stage = _stage_of(monkeypatch, hand=_Segmenter(lambda _: squares))
    ((candidate),) = stage(_grey(1))
    corners = [tuple(int(at[0]) for at in np.nonzero(p.mask)) for p in candidate.proposals]
    assert corners == [(0, 6), (5, 1), (1, 4), (5, 4)]  # (row, column)
    assert [p.ordinal for p in candidate.proposals] == [0, 1, 2, 3]


def test_soft_values_and_area(monkeypatch):
    """0.5 of 255 is 127.5, rounded 128: not yet the object. 0.6 is 153, and is 4 of 64 pixels."""
    soft = np.maximum(_square(0, 0, value=0.5), _square(4, 4, value=0.6))
    ((candidate),) = _stage_of(monkeypatch, hand=_Segmenter(lambda _: [(soft, 1.0)]))(_grey(1))
    (proposal,) = candidate.proposals
    assert set(np.unique(proposal.mask)) == {0, 128, 153} and proposal.area_fraction == 4 / 64


def test_empty_mask_and_nothing_found_are_two_reasons(monkeypatch):
    faint = _square(0, 0, value=0.4)
    stage = _stage_of(monkeypatch, faint=_Segmenter(lambda _: [(faint, 1.0)]), none=_Segmenter(lambda _: []))
    (candidate,) = stage(_grey(1))
    told = [(p.method, p.ordinal, p.status, p.reason, p.area_fraction) for p in candidate.proposals]
    assert told == [
        ("faint", 0, "rejected", "empty_mask", 0.0), ("none", 0, "rejected", "nothing_found", None),
    ]  # fmt: skip
    assert candidate.status == "ok"


def test_rejected_candidates_pass_unchanged():
    rejected = replace(_scenes(1)[0], status="rejected", reason="black_image")
    assert GRABCUT([rejected]) == [rejected]


def test_candidates_that_have_proposals_are_left_alone():
    """Those of the sources `cutouts` and `annotated`: their objects are known."""
    known = Proposal("annotated", 0, np.full((64, 64), 255, np.uint8), area_fraction=1.0)
    given = replace(_scenes(1)[0], proposals=(known,))
    done = GRABCUT([given, _scenes(2)[1]])
    assert done[0] is given and [p.method for p in done[1].proposals] == ["grabcut"]


# --- failures -------------------------------------------------------------------------------------


def _breaks_on(number, error):
    def find(image):
        if image[0, 0, 0] == number:
            raise error
        return [(_square(2, 2), 1.0)]

    return find


def test_image_that_raises_is_rejected_and_its_neighbours_survive(monkeypatch):
    stage = _stage_of(monkeypatch, hand=_Segmenter(_breaks_on(1, ValueError("broken")), micro_batch=4))
    reasons = [c.proposals[0].reason for c in stage(_grey(5))]
    assert reasons == [None, "segmentation_failed", None, None, None]


def test_where_one_method_fails_the_others_stay(monkeypatch):
    stage = _stage_of(
        monkeypatch,
        good=_Segmenter(lambda _: [(_square(2, 2), 1.0)]),
        poor=_Segmenter(_breaks_on(0, RowError("unknown_category"))),
    )
    first, second = stage(_grey(2))
    assert [(p.method, p.reason) for p in first.proposals] == [("good", None), ("poor", "unknown_category")]
    assert [(p.method, p.reason) for p in second.proposals] == [("good", None), ("poor", None)]
    assert not first.transient


def test_categories_that_a_method_does_not_know_break_no_batch(monkeypatch, caplog):
    """Of six images, three bananas; two at a time: a batch of two and one of one, padded."""

    class Choosy(_Segmenter):
        def refusal(self, category):
            return None if category == "banana" else "not_in_vocabulary"

    choosy, other = (kind(lambda _: [(_square(2, 2), 1.0)]) for kind in (Choosy, _Segmenter))
    given = _grey(6)
    for i in (0, 3, 4):
        given[i] = replace(given[i], prompt=replace(given[i].prompt, category="aardvark"))
    done = _stage_of(monkeypatch, choosy=choosy, other=other)(given)
    unknown = "not_in_vocabulary"
    assert [c.proposals[0].reason for c in done] == [unknown, None, None, unknown, unknown, None]
    assert [c.proposals[1].reason for c in done] == [None] * 6
    assert (choosy.sizes, other.sizes) == ([2, 2], [2, 2, 2])
    assert not any(c.transient for c in done) and caplog.records == []


@pytest.mark.parametrize(
    ("mask", "score", "reason"),
    [
        (_square(0, 0, value=np.nan), 1.0, "nan_mask"),
        (_square(0, 0), float("nan"), "nan_mask"),
        (np.ones((4, 8), np.float32), 1.0, "segmentation_failed"),
    ],
)
def test_mask_that_is_none_is_rejected(monkeypatch, mask, score, reason):
    ((candidate),) = _stage_of(monkeypatch, hand=_Segmenter(lambda _: [(mask, score)]))(_grey(1))
    assert [p.reason for p in candidate.proposals] == [reason]


@pytest.mark.parametrize("prompt", ["centre", "auto"])
def test_network_that_answers_nan_is_rejected(tmp_path, prompt):
    """Not taken for an image on which nothing was found."""
    stage = _stage({"sam": {"kind": "sam", "model": str(save_tiny_sam(tmp_path)), "prompt": prompt}})
    stage._methods[0]._segmenter._sam.mask_decoder.iou_token.weight.fill_(torch.nan)
    assert [c.proposals[0].reason for c in stage(_scenes(1))] == ["nan_mask"]


@pytest.mark.parametrize(
    ("message", "reason", "transient"),
    [("CUDA error: out of memory", "out_of_memory", True), ("bad mask", "segmentation_failed", False)],
)
def test_only_what_may_pass_is_worth_another_try(monkeypatch, message, reason, transient):
    stage = _stage_of(monkeypatch, hand=_Segmenter(lambda _: _raise(RuntimeError(message))))
    (done,) = stage(_grey(1))
    assert (done.status, done.transient, done.proposals[0].reason) == ("ok", transient, reason)


def test_out_of_memory_halves_the_batches_of_one_method_only(monkeypatch):
    class Large(_Segmenter):
        def __call__(self, shown):
            if len(shown) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return super().__call__(shown)

    large, small = (kind(lambda _: [(_square(1, 1), 1.0)], 4) for kind in (Large, _Segmenter))
    done = _stage_of(monkeypatch, large=large, small=small)(_grey(4))
    assert [p.status for c in done for p in c.proposals] == ["ok"] * 8
    assert all(c.degraded_shape for c in done) and not any(c.transient for c in done)
    assert (large.sizes, small.sizes) == ([2, 2], [4])


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLost),
        (ConfigError("segment.methods.*.model: wrong"), ConfigError),
    ],
)
def test_lost_gpu_and_wrong_options_end_the_stage(monkeypatch, error, raised):
    stage = _stage_of(monkeypatch, hand=_Segmenter(lambda _: _raise(error)))
    with pytest.raises(raised):
        stage(_grey(2))


def test_plain_image_has_an_empty_mask_and_a_reason():
    plain = _candidate(0, np.full((64, 64, 3), 255, np.uint8))
    (proposal,) = GRABCUT([plain])[0].proposals
    assert (proposal.status, proposal.reason) in {
        ("rejected", "empty_mask"), ("rejected", "segmentation_failed"),
    }  # fmt: skip


# --- neighbours -----------------------------------------------------------------------------------


def test_masks_do_not_depend_on_the_neighbours(tmp_path):
    sam = {"kind": "sam", "model": str(save_tiny_sam(tmp_path)), "micro_batch": 2}
    stage = _stage({"cut": {"kind": "grabcut"}, "sam": sam, "corners": {**sam, "prompt": "corners"}})
    three = [_candidate(i, picture(40 + 8 * i, 64, seed=i)) for i in range(3)]
    (alone,), among = stage(three[2:]), stage(three)[2]
    assert [p.method for p in alone.proposals] == ["corners", "cut", "sam"]
    for one, other in zip(alone.proposals, among.proposals, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert (one.ordinal, one.overlaps) == (other.ordinal, other.overlaps)


def test_every_method_computes_with_its_own_threads(tmp_path, monkeypatch):
    """Threads are part of the recipe, and the process has one number of them."""
    before, seen = torch.get_num_threads(), []
    try:
        sam = {"kind": "sam", "model": str(save_tiny_sam(tmp_path))}
        stage = _stage({"one": {**sam, "threads": 1}, "two": {**sam, "threads": 2}})
        for method in stage._methods:
            call = method._segmenter

            def noted(shown, call=call):
                seen.append(torch.get_num_threads())
                return call(shown)

            monkeypatch.setattr(method, "_segmenter", noted)
        stage(_scenes(1))
        assert seen == [1, 2]
    finally:
        torch.set_num_threads(before)


# --- overlaps -------------------------------------------------------------------------------------


def test_overlaps_of_two_squares_by_hand(monkeypatch):
    """4 x 4 at (0, 0) and 4 x 4 at (2, 2) share 2 x 2 = 4 pixels: IoU 4 / 28, and a quarter of each."""
    squares = [(_square(0, 0, 4), 0.9), (_square(2, 2, 4), 0.8)]
    ((candidate),) = _stage_of(monkeypatch, hand=_Segmenter(lambda _: squares))(_grey(1))
    assert [p.overlaps for p in candidate.proposals] == [((1, 4 / 28, 0.25),), ((0, 4 / 28, 0.25),)]


def test_overlaps_go_over_methods_and_count_places_among_all_proposals(monkeypatch):
    """The second method's first proposal is rejected: it has a place, and no overlaps."""
    stage = _stage_of(
        monkeypatch,
        a=_Segmenter(lambda _: [(_square(0, 0, 4), 1.0)]),
        b=_Segmenter(lambda _: [(_square(0, 0, value=0.1), 2.0), (_square(1, 1, 2), 1.0)]),
    )
    ((candidate),) = stage(_grey(1))
    assert [p.reason for p in candidate.proposals] == [None, "empty_mask", None]
    assert [p.overlaps for p in candidate.proposals] == [((2, 0.25, 0.25),), (), ((0, 0.25, 1.0),)]


def test_stage_takes_images_that_may_not_be_written():
    """As they come from Arrow."""
    (scene,) = _scenes(1)
    scene.image.flags.writeable = False
    assert GRABCUT([scene])[0].proposals[0].mask[disc(64, 3)].size


def test_settings_are_checked_before_anything_starts():
    assert FullMethod(kind="full") and GrabCutMethod(kind="grabcut").border_px == 2
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: the model folder '/no' does not exist"):
        _stage({"sam": {"kind": "sam", "model": "/no"}})
