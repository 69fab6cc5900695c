"""The segment stage: hand-made segmenters for the rules, the real GrabCut for the chain."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.conftest import disc
from tests.models.sams import picture, save_tiny_sam
from xpaste_ray.config.segment import FullMethod, GrabCutMethod, SegmentSettings
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.errors import ConfigError, DeviceLost, RowError, StorageError
from xpaste_ray.models.segmenters import SoftMask, sees_only_the_image
from xpaste_ray.records import Candidate, Prompt, Proposal
from xpaste_ray.rng import rng_for
from xpaste_ray.stages import segment
from xpaste_ray.stages.segment import SegmentStage

FULL = {"kind": "full"}


def _stage(methods, **limits):
    return SegmentStage(SegmentSettings.model_validate({"methods": methods, "limits": limits}))


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


def _stage_of(monkeypatch, limits=None, **segmenters):
    """A stage whose methods, by name, are these segmenters."""
    built = iter(segmenters[name] for name in sorted(segmenters))
    monkeypatch.setattr(segment, "build_segmenter", lambda *_: next(built))
    return _stage(dict.fromkeys(segmenters, FULL), **(limits or {}))


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


# --- limits ---------------------------------------------------------------------------------------


def _box(height, width, side=10):
    """(10, 10) float32: a box at the upper left corner."""
    mask = np.zeros((side, side), np.float32)
    mask[:height, :width] = 1
    return mask


@pytest.mark.parametrize(
    ("limits", "height", "width", "reason"),
    [
        pytest.param({"min_area_fraction": 0.06}, 2, 3, None, id="as-small-as-allowed"),
        pytest.param({"min_area_fraction": 0.06}, 1, 5, "area_too_small", id="a-pixel-smaller"),
        pytest.param({"max_area_fraction": 0.3}, 5, 6, None, id="as-large-as-allowed"),
        pytest.param({"max_area_fraction": 0.3}, 1, 31, "area_too_large", id="larger"),
        pytest.param({"max_box_span": 0.9}, 8, 8, None, id="below-the-span"),
        pytest.param({"max_box_span": 0.9}, 9, 1, "spans_image", id="as-high-as-the-span"),
        pytest.param({"max_box_span": 0.9}, 1, 9, "spans_image", id="as-wide-as-the-span"),
        pytest.param({"max_box_span": 1}, 10, 1, "spans_image", id="from-top-to-bottom"),
        pytest.param(
            {"min_area_fraction": 0.06, "max_box_span": 0.5}, 1, 5, "area_too_small", id="area-first"
        ),
        pytest.param({}, 10, 10, None, id="no-limits"),
    ],
)
def test_limits_hold_to_the_pixel(monkeypatch, limits, height, width, reason):
    """Of 100 pixels, 10 x 10."""
    mask = _box(height, width)
    if width > 10:
        mask = np.zeros((10, 10), np.float32)
        mask.ravel()[:width] = 1
    stage = _stage_of(monkeypatch, limits, hand=_Segmenter(lambda _: [(mask, 1.0)]))
    ((proposal,),) = (candidate.proposals for candidate in stage(_grey(1, 10)))
    assert proposal.reason == reason and proposal.area_fraction == pytest.approx(mask.mean())
    assert (proposal.status, proposal.mask is None) == (("rejected", True) if reason else ("ok", False))


def test_limits_that_leave_nothing_are_refused():
    with pytest.raises(ValidationError, match="must be at least min_area_fraction, 0.5: no mask"):
        _stage({"all": FULL}, min_area_fraction=0.5, max_area_fraction=0.4)


def test_em_pastes_span_holds_at_98_of_100_pixels(monkeypatch):
    spans = [(_box(97, 3, 100), 2.0), (_box(98, 3, 100), 1.0)]
    stage = _stage_of(monkeypatch, {"max_box_span": 0.98}, hand=_Segmenter(lambda _: spans))
    (candidate,) = stage(_grey(1, 100))
    assert [p.reason for p in candidate.proposals] == [None, "spans_image"]


def test_what_is_beyond_the_limits_keeps_its_place_and_its_reason(monkeypatch):
    """Ordinals are those of all that was found; overlaps leave it out."""
    found = [
        (_square(0, 0, 8), 0.9),
        (_square(0, 0, 4), 0.8),
        (_square(0, 0, 1), 0.7),
        (_square(2, 2, 4), 0.6),
    ]
    limits = {"min_area_fraction": 0.1, "max_area_fraction": 0.5, "max_box_span": 0.98}
    (candidate,) = _stage_of(monkeypatch, limits, hand=_Segmenter(lambda _: found))(_grey(1))
    told = [(p.ordinal, p.reason) for p in candidate.proposals]
    assert told == [(0, "area_too_large"), (1, None), (2, "area_too_small"), (3, None)]
    assert [p.overlaps for p in candidate.proposals] == [(), ((3, 4 / 28, 0.25),), (), ((1, 4 / 28, 0.25),)]


# --- several categories of one image --------------------------------------------------------------


def _of_image(number, uri, image=None, content_hash="h"):
    """A candidate whose image is called `uri`; its pixels follow from that unless given."""
    made = _candidate(number, np.full((8, 8, 3), len(uri or ""), np.uint8) if image is None else image)
    return replace(made, prompt=replace(made.prompt, uri=uri), content_hash=content_hash)


def test_categories_of_one_image_share_what_is_computed(monkeypatch):
    """Of four candidates three images; the rows of the second and the third are the same objects."""
    hand = _Segmenter(lambda _: [(_square(0, 0, 4), 0.9), (_square(2, 2, 4), 0.8)], micro_batch=1)
    stage = _stage_of(monkeypatch, hand=hand)
    done = stage([_of_image(0, "a"), _of_image(1, "bb"), _of_image(2, "bb"), _of_image(3, "ccc")])
    assert hand.sizes == [1, 1, 1]
    assert done[1].proposals is done[2].proposals is not done[0].proposals
    assert [one.prompt.candidate_id for one in done] == ["c0", "c1", "c2", "c3"]
    assert all(p.overlaps for one in done for p in one.proposals)


def test_overlaps_of_one_image_are_computed_once(monkeypatch):
    calls = []
    monkeypatch.setattr(segment, "overlaps_of", lambda masks: calls.append(len(masks)) or [()] * len(masks))
    stage = _stage_of(monkeypatch, hand=_Segmenter(lambda _: [(_square(0, 0), 1.0)]))
    stage([_of_image(0, "a"), _of_image(1, "a"), _of_image(2, None), _of_image(3, None)])
    assert calls == [1, 1, 1]


@pytest.mark.parametrize(
    "second",
    [_of_image(1, None), _of_image(1, "b"), _of_image(1, "a", content_hash="another")],
    ids=["generated", "another-name", "changed-since"],
)
def test_other_images_are_computed_by_themselves(monkeypatch, second):
    hand = _Segmenter(lambda _: [(_square(0, 0), 1.0)], micro_batch=1)
    _stage_of(monkeypatch, hand=hand)([_of_image(0, "a"), second])
    assert hand.sizes == [1, 1]


def test_generated_images_are_never_taken_for_one(monkeypatch):
    hand = _Segmenter(lambda _: [(_square(0, 0), 1.0)], micro_batch=1)
    _stage_of(monkeypatch, hand=hand)([_of_image(0, None), _of_image(1, None)])
    assert hand.sizes == [1, 1]


def test_failure_of_a_shared_image_is_that_of_each_of_its_candidates(monkeypatch):
    def find(image):
        raise RowError("no_mask_file") if image[0, 0, 0] == 1 else StorageError("the disk is away")

    stage = _stage_of(monkeypatch, hand=_Segmenter(find, micro_batch=1))
    done = stage([_of_image(0, "a"), _of_image(1, "a"), _of_image(2, "bb")])
    told = [(one.proposals[0].reason, one.transient) for one in done]
    assert told == [("no_mask_file", False), ("no_mask_file", False), ("read_failed", True)]


def test_shared_proposals_are_those_of_each_alone(tmp_path):
    """Real methods: superpixels, which share, beside GrabCut, which draws by the candidate's id."""
    image = picture(48, 64, seed=3)
    np.save(tmp_path / "a.npy", np.eye(2, dtype=bool).repeat(24, 0).repeat(32, 1)[None])
    stage = _stage(
        {
            "cut": {"kind": "grabcut"},
            "files": {"kind": "masks", "path": str(tmp_path)},
            "slic": {"kind": "slic", "max_masks": 5},
        },
        max_area_fraction=0.4,
    )
    two = [_of_image(i, "a.jpg", image) for i in range(2)]
    together = stage(two)
    for one, (alone,) in zip(together, (stage([each]) for each in two), strict=True):
        assert [p.method for p in one.proposals] == ["cut", "files", *["slic"] * 5]
        assert one.proposals[1].reason == "area_too_large"  # half of the image
        for p, q in zip(one.proposals, alone.proposals, strict=True):
            assert (p.method, p.ordinal, p.reason, p.overlaps) == (q.method, q.ordinal, q.reason, q.overlaps)
            assert (p.mask is None) == (q.mask is None) and (p.mask is None or np.array_equal(p.mask, q.mask))


@pytest.mark.parametrize(
    ("told", "shared"),
    [
        ({"kind": "slic"}, True),
        ({"kind": "felzenszwalb"}, True),
        ({"kind": "masks", "path": "m"}, True),
        ({"kind": "full"}, True),
        ({"kind": "sam", "model": "m"}, True),
        ({"kind": "saliency", "model": "m"}, True),
        ({"kind": "mask2former", "model": "m", "classes": "any"}, True),
        ({"kind": "mask2former", "model": "m"}, False),
        ({"kind": "mask-rcnn", "model": "m"}, False),
        ({"kind": "clipseg", "model": "m"}, False),
        ({"kind": "grabcut"}, False),
    ],
)
def test_only_what_sees_nothing_but_the_image_is_shared(told, shared):
    (method,) = SegmentSettings.model_validate({"methods": {"one": told}}).methods.values()
    assert sees_only_the_image(method) == shared
