import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.conftest import candidates
from xpaste_ray.config import load_settings
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.errors import ConfigError, DeviceLost
from xpaste_ray.masks import encode_png
from xpaste_ray.models.views import view_of
from xpaste_ray.records import SCORE_NAMES, Proposal
from xpaste_ray.rng import rng_for
from xpaste_ray.stages.score import SCORE_OF, ScoreStage

ALL_VIEWS = "score.views=[white, image, crop, black]"


def _stage(*overrides):
    return ScoreStage(load_settings("demo", ["score.micro_batch=4", *overrides]).score)


@pytest.fixture(scope="module")
def stage():
    return _stage()


def _masked(count, shown=None):
    """Candidates with a scene of their category (or of `shown`) and its true mask."""
    made = []
    for candidate in candidates(count):
        image, alpha = compose_scene(
            rng_for(0, "test-score", candidate.prompt.candidate_id),
            shown or candidate.prompt.category,
            DIFFUSION_STYLE,
            64,
        )
        mask = np.rint(alpha * 255).astype(np.uint8)
        made.append(
            replace(candidate, image=image, proposals=(Proposal("true", 0, mask, area_fraction=0.3),))
        )
    return made


def _scores(candidate, place=0):
    return dict(candidate.proposals[place].scores)


def _logits(candidates):
    return [_scores(candidate)["clip_logit"] for candidate in candidates]


def _prepared(stage, one):
    """What the model is shown of a candidate's first proposal."""
    return stage._model.prepare(view_of("white", one.image, one.proposals[0].mask))


def test_right_category_scores_far_above_a_wrong_one(stage):
    right, wrong = _logits(stage(_masked(3))), _logits(stage(_masked(3, shown="umbrella")))
    assert min(right) > max(wrong) + 10


def test_embedding_is_kept_as_float16(stage):
    embedding = stage(_masked(1))[0].proposals[0].embedding
    assert embedding.dtype == np.float16 and embedding.shape == (128,)


def test_score_does_not_depend_on_the_neighbours(stage):
    five = _masked(5)
    assert _logits(stage(five))[4] == _logits(stage(five[4:]))[0]


def test_image_that_raises_is_rejected_and_its_neighbours_survive(stage, monkeypatch):
    three = _masked(3)
    expected = _logits(stage(three))
    original, broken = stage._model.embed, _prepared(stage, three[1])

    def fail_on_broken(prepared):
        if any(torch.equal(image, broken) for image in prepared):
            raise RuntimeError("broken row")
        return original(prepared)

    monkeypatch.setattr(stage._model, "embed", fail_on_broken)
    done = stage(three)
    assert [c.proposals[0].reason for c in done] == [None, "scoring_failed", None]
    assert _logits([done[0], done[2]]) == [expected[0], expected[2]]


def test_out_of_memory_halves_the_micro_batch_for_good(monkeypatch):
    stage = _stage()
    expected = _logits(stage(_masked(5)))
    original, sizes = stage._model.embed, []

    def fits_two(prepared):
        sizes.append(len(prepared))
        if len(prepared) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(prepared)

    monkeypatch.setattr(stage._model, "embed", fits_two)
    done = stage(_masked(5))
    assert sizes == [4, 2, 2, 2]
    assert all(c.degraded_shape and not c.transient for c in done)
    assert _logits(done) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["embed", "embed_texts"])
def test_no_memory_at_all_is_worth_another_try(monkeypatch, method):
    stage = _stage()
    with monkeypatch.context() as patch:

        def no_memory(rows):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

        patch.setattr(stage._model, method, no_memory)
        done = stage(_masked(2))
    assert [(c.status, c.transient, c.proposals[0].reason) for c in done] == [
        ("ok", True, "out_of_memory")
    ] * 2
    assert [c.proposals[0].reason for c in stage(_masked(2))] == [None] * 2  # a failed text is not kept


def test_lost_gpu_ends_the_stage(stage, monkeypatch):
    def fail(images):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr(stage._model, "embed", fail)
    with pytest.raises(DeviceLost, match="uncorrectable ECC"):
        stage(_masked(2))


@pytest.mark.parametrize("shape", [(3, 3), (1, 1)])  # NumPy would stretch the second one
def test_mask_that_does_not_fit_is_rejected_and_its_neighbours_survive(stage, shape):
    two = _masked(2)
    odd = Proposal("odd", 0, np.zeros(shape, np.uint8))
    done = stage([replace(two[0], proposals=(odd, *two[0].proposals)), two[1]])
    assert [p.reason for c in done for p in c.proposals] == ["scoring_failed", None, None]
    assert _logits([replace(done[0], proposals=done[0].proposals[1:]), done[1]]) == _logits(stage(two))


def test_rejected_proposals_pass_unchanged(stage):
    candidate = replace(_masked(1)[0], proposals=(Proposal("m", 0, None, "rejected", "segmentation_failed"),))
    assert stage([candidate]) == [candidate]


def test_proposals_of_a_rejected_candidate_pass_unchanged(stage):
    candidate = replace(_masked(1)[0], status="rejected", reason="black_image", image=None)
    assert stage([candidate])[0] is candidate


def test_score_that_is_no_number_is_rejected_and_no_embedding_kept(stage, monkeypatch):
    original = stage._model.embed

    def nan_first(prepared):
        embeddings = original(prepared).copy()
        embeddings[0] = np.nan
        return embeddings

    monkeypatch.setattr(stage._model, "embed", nan_first)
    done = [c.proposals[0] for c in stage(_masked(2))]
    assert [(p.status, p.reason) for p in done] == [("rejected", "nan_score"), ("ok", None)]
    assert done[0].embedding is None and done[0].scores == ()


# --- views ---------------------------------------------------------------------------------------


def test_every_view_has_the_score_that_it_has_alone():
    """Each from the cosine of what is shown and the template's text."""
    (one,) = _masked(1)
    stage = _stage(ALL_VIEWS)
    scores = _scores(stage([one])[0])
    assert set(scores) == set(SCORE_OF.values()) <= set(SCORE_NAMES)
    (text,) = stage._model.embed_texts([f"a photo of {one.prompt.category}"])
    for view, name in SCORE_OF.items():
        (image,) = stage._model.embed_images([view_of(view, one.image, one.proposals[0].mask)])
        assert scores[name] == pytest.approx(100 * float(image @ text), abs=1e-3), view
    assert len(set(scores.values())) == 4


def test_first_views_embedding_is_kept():
    (one,) = _masked(1)
    stage = _stage("score.views=[crop, white]")
    (crop,) = stage._model.embed_images([view_of("crop", one.image, one.proposals[0].mask)])
    assert np.allclose(stage([one])[0].proposals[0].embedding, crop, atol=1e-3)


def test_whole_image_is_embedded_once_and_told_of_each_of_its_proposals(monkeypatch):
    (one,) = _masked(1)
    other = Proposal("other", 0, 255 - one.proposals[0].mask)
    stage, shown = _stage("score.views=[white, image]"), []
    original = stage._model.prepare
    monkeypatch.setattr(stage._model, "prepare", lambda image: shown.append(image) or original(image))
    (done,) = stage([replace(one, proposals=(*one.proposals, other))])
    assert sum(image is one.image for image in shown) == 1 and len(shown) == 3  # what pads is not prepared
    assert _scores(done, 0)["clip_logit_image"] == _scores(done, 1)["clip_logit_image"]
    assert _scores(done, 0)["clip_logit"] != _scores(done, 1)["clip_logit"]


def test_paper_s_resizing_gives_another_score_of_a_large_image():
    (one,) = _masked(1)
    image, mask = (pixels.repeat(5, 0).repeat(5, 1) for pixels in (one.image, one.proposals[0].mask))
    large = replace(one, image=image, proposals=(replace(one.proposals[0], mask=mask),))
    pil, tensor = (_logits(_stage(f"score.resize={rule}")([large]))[0] for rule in ("pil", "tensor"))
    assert pil != tensor and pil == pytest.approx(tensor, abs=5)


def test_views_are_made_batch_by_batch():
    """8 images of 1 MB with 4 masks each, white and black: all at once would be 64 MB."""
    rng, shape = rng_for(0, "test-memory"), (592, 592)
    masks = [rng.integers(0, 256, shape, np.uint8) for _ in range(4)]
    proposals = tuple(Proposal("m", i, mask) for i, mask in enumerate(masks))
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    many = [replace(candidate, image=image, proposals=proposals) for candidate in candidates(8)]
    stage = _stage("score.views=[white, black]")
    tracemalloc.start()
    done = stage(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(p.status == "ok" for c in done for p in c.proposals)
    assert peak < 8e6  # a few, and what they are made with


# --- optional scores -----------------------------------------------------------------------------


def _crops(folder, **images):
    for name, shown in images.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(shown):
            (folder / name / f"{number}.png").write_bytes(encode_png(image))
    return folder


def test_similarity_is_the_mean_cosine_to_real_objects_of_the_category(tmp_path):
    scenes = [c.image for c in _masked(6)]  # banana, frog, lion, banana, frog, lion
    folder = _crops(tmp_path, banana=[scenes[0], scenes[3]], Frog=[scenes[1]])
    stage = _stage(f"score.real={{crops: {folder}}}")
    banana, frog, lion = stage(_masked(3))
    real = stage._model.embed_images([scenes[0], scenes[3]])
    expected = np.mean(real @ banana.proposals[0].embedding.astype(np.float32))
    assert _scores(banana)["real_similarity"] == pytest.approx(expected, abs=1e-3)
    assert _scores(frog)["real_similarity"] > 0.5
    assert "real_similarity" not in _scores(lion) and "clip_logit" in _scores(lion)


def test_own_kind_is_more_alike_than_another(tmp_path):
    scenes = [c.image for c in _masked(3)]
    similarity = [
        _scores(_stage(f"score.real={{crops: {_crops(tmp_path / str(n), banana=[scene])}}}")(_masked(1))[0])
        for n, scene in enumerate(scenes)
    ]
    banana, frog, lion = (one["real_similarity"] for one in similarity)
    assert banana > max(frog, lion) + 0.1


def test_broken_real_crop_stops_the_stage_and_rejects_nothing(tmp_path):
    folder = _crops(tmp_path, banana=[_masked(1)[0].image])
    file = folder / "banana" / "0.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ConfigError, match="banana/0.png is no usable image"):
        _stage(f"score.real={{crops: {folder}}}")(_masked(1))


def test_no_memory_for_real_crops_is_worth_another_try(tmp_path, monkeypatch):
    stage = _stage(f"score.real={{crops: {_crops(tmp_path, banana=[_masked(1)[0].image])}}}")
    original, calls = stage._model.embed, []

    def fails_once(prepared):
        calls.append(len(prepared))
        if len(calls) in (2, 3, 4):  # the crops' batches of 4, 2 and 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(prepared)

    monkeypatch.setattr(stage._model, "embed", fails_once)
    (done,) = stage(_masked(1))
    assert (done.transient, done.proposals[0].reason) == (True, "out_of_memory")
    (again,) = stage(_masked(1))  # a failed mean is not kept
    assert not again.transient and "real_similarity" in _scores(again)


@pytest.mark.parametrize("name", ["nsfw", "aesthetic"])
def test_head_reads_its_score_off_the_kept_embedding(tmp_path, name):
    weight = rng_for(0, "test-head").normal(size=(1, 128)).astype(np.float32)
    save_file({"weight": weight, "bias": np.array([3], np.float32)}, tmp_path / "head.safetensors")
    (tmp_path / "head.json").write_text(json.dumps({"activation": "none", "output": "none"}))
    (done,) = _stage(f"score.{name}={tmp_path}")(_masked(1))
    expected = float(weight[0] @ done.proposals[0].embedding.astype(np.float32)) + 3
    assert _scores(done)[name] == pytest.approx(expected, abs=1e-2)


def test_scores_of_an_earlier_stage_give_way_to_new_ones(stage):
    (one,) = _masked(1)
    old = replace(one, proposals=(replace(one.proposals[0], scores=(("clip_logit", -1.0), ("other", 2.0))),))
    (done,) = stage([old])
    assert [name for name, _ in done.proposals[0].scores] == ["clip_logit", "other"]
    assert _logits([done]) == _logits(stage([one]))
