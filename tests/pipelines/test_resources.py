"""How wide a run goes: numbers that a person can check, without a cluster."""

import json

import pytest

from xpaste_ray.config import PoolSettings, ResourceSettings, StageResources, load, load_settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.resources import (
    SPARE_CPUS,
    Cost,
    Node,
    check_cores,
    check_fits,
    cpus_booked,
    describe,
    plan_pass,
    plan_resources,
    stage_costs,
)

ALL_ON_GPU = {"source": Cost(80, 0.8), "segment": Cost(6, 0.06), "score": Cost(0.2, 0.002)}
CUT_ON_CPU = {**ALL_ON_GPU, "segment": Cost(0.7)}
NO_GPU = {"source": Cost(6), "segment": Cost(3), "score": Cost(1)}


def _settings(source="auto", segment="auto", score="auto"):
    told = {"source": source, "segment": segment, "score": score, "compose": {"actors": 1}}
    return ResourceSettings.model_validate(told)


def _shares(plan):
    return {stage: (wanted.actors, wanted.gpus) for stage, wanted in plan.items()}


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_auto_puts_one_actor_of_each_gpu_stage_on_each_card(gpus):
    plan = plan_resources(_settings(), ALL_ON_GPU, [Node(64, gpus, "H200")])
    assert _shares(plan) == {"source": (gpus, 0.625), "segment": (gpus, 0.25), "score": (gpus, 0.125)}


def test_shares_fill_a_card_and_no_card_holds_two_actors_of_a_stage():
    plan = plan_resources(_settings(), ALL_ON_GPU, [Node(64, 1)])
    source, segment, score = (plan[stage].gpus for stage in ("source", "segment", "score"))
    assert source + segment + score == 1
    assert 2 * source > 1 and 2 * segment > 1 - source  # Ray starts the stages in this order


def test_auto_gives_processors_twice_what_the_cards_can_feed():
    # A card makes 1 / (0.8 + 0.002) = 1.247 images/s, so 8 make 9.98; at 0.7 s a cut they need 6.98 cores.
    plan = plan_resources(_settings(), CUT_ON_CPU, [Node(64, 8)])
    assert _shares(plan) == {"source": (8, 0.75), "segment": (14, 0), "score": (8, 0.25)}
    # 2 GPUs on 4 cores: 4 - 2 spare - 0.4 of the cards' actors leave 1.6, so 2, though 3.5 would do.
    assert plan_resources(_settings(), CUT_ON_CPU, [Node(4, 2)])["segment"].actors == 2


@pytest.mark.parametrize(("steps", "images_per_s"), [(50, 8 * 4.2), (25, 8 * 8.2), ("null", 8 * 30)])
def test_auto_cuts_out_as_fast_as_eight_large_cards_generate(steps, images_per_s):
    """`null`: the model's own number of steps, which may be a Turbo model's single one."""
    told = [
        "sources.diffusion.model=/models/sd",
        f"sources.diffusion.steps={steps}",
        "score.model=/models/clip",
    ]
    settings = load(PoolSettings, "demo", told)
    costs = stage_costs(settings, settings.sources["diffusion"])
    plan = plan_resources(_settings(), costs, [Node(192, 8)])
    assert plan["segment"].actors >= min(images_per_s * costs["segment"].cpu_s, 186)


def test_auto_without_gpus_shares_cores_by_cost():
    # 12 cores, 2 of them spare: 10 in the proportion 6 : 3 : 1.
    plan = plan_resources(_settings(), NO_GPU, [Node(12)])
    assert _shares(plan) == {"source": (6, 0), "segment": (3, 0), "score": (1, 0)}


def test_auto_gives_every_stage_an_actor_on_two_cores():
    plan = plan_resources(_settings(), NO_GPU, [Node(2 + SPARE_CPUS)])
    assert all(wanted.actors >= 1 for wanted in plan.values())


def test_auto_counts_cards_over_mixed_nodes():
    nodes = [Node(0), Node(32, 8, "H200"), Node(16, 2, "A100"), Node(16)]
    assert _shares(plan_resources(_settings(), ALL_ON_GPU, nodes))["source"] == (10, 0.625)


def test_sequential_stages_have_the_cluster_for_themselves():
    plans = [plan_resources(_settings(), {stage: cost}, [Node(64, 2)]) for stage, cost in ALL_ON_GPU.items()]
    assert list(map(_shares, plans)) == [{stage: (2, 1.0)} for stage in ALL_ON_GPU]


def test_source_that_reads_images_takes_no_card():
    folder = "sources.photos={kind: folder, path: /photos}"
    settings = load(PoolSettings, "demo", [folder, "resources.source={actors: 2, gpus: 1}"])
    nodes = [Node(16, 2)]
    assert _shares(plan_pass(settings, ["source"], "diffusion", nodes)) == {"source": (2, 1)}
    assert _shares(plan_pass(settings, ["source"], "photos", nodes)) == {"source": (2, 0)}


@pytest.mark.parametrize(
    ("told", "shares"),
    [
        pytest.param(
            {"source": {"actors": 3, "gpus": 1}},
            {"source": (3, 1), "segment": (1, 0.75), "score": (1, 0.25)},
            id="the-rest-on-the-card-that-is-left",
        ),
        pytest.param(
            {"source": {"actors": 4, "gpus": 0.75}},
            {"source": (4, 0.75), "segment": (4, 0.125), "score": (4, 0.125)},
            id="the-rest-beside-each-source",
        ),
        pytest.param(
            {"score": {"actors": 1, "gpus": 1}},
            {"source": (3, 0.75), "segment": (3, 0.25), "score": (1, 1)},
            id="source-on-what-the-score-leaves",
        ),
        pytest.param(
            {"segment": {"actors": 6}},
            {"source": (4, 0.75), "segment": (6, 0), "score": (4, 0.25)},
            id="a-stage-on-processors-takes-no-card",
        ),
    ],
)
def test_fixed_and_auto_stages_share_four_cards(told, shares):
    assert _shares(plan_resources(_settings(**told), ALL_ON_GPU, [Node(64, 4)])) == shares


def test_stages_without_room_on_a_card_go_to_processors():
    plan = plan_resources(_settings(source={"actors": 4, "gpus": 1}), ALL_ON_GPU, [Node(64, 4)])
    assert [plan[stage].gpus for stage in ("segment", "score")] == [0, 0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param({"actors": 9, "gpus": 1}, "resources.source: 9 actors with 1 GPUs", id="too-many-cards"),
        pytest.param({"actors": 1, "gpus": 16}, "resources.source: 1 actors with 16 GPUs", id="no-such-node"),
        pytest.param({"actors": 9, "gpus": 0.625}, "1 of them find no room", id="one-share-too-many"),
        pytest.param(
            {"actors": 1, "accelerator_type": "B200"}, "GPUs of type B200", id="no-such-type-on-processors"
        ),
        pytest.param(
            {"actors": 3, "gpus": 1, "accelerator_type": "A100"}, "1 of them find no room", id="few-of-a-type"
        ),
        pytest.param({"actors": 200, "cpus": 1}, "the actors need 20", id="too-many-cores"),
        pytest.param({"actors": 1, "cpus": 40}, "1 actors with 40 CPUs", id="no-node-has-so-many-cores"),
    ],
)
def test_what_can_never_run_is_an_error_at_once(source, message):
    nodes = [Node(32, 6, "H200"), Node(32, 2, "A100")]
    rest = {"actors": 1}
    with pytest.raises(ConfigError, match=message):
        plan_resources(_settings(source, rest, rest), ALL_ON_GPU, nodes)


def test_actors_go_to_nodes_of_their_type():
    nodes = [Node(32, 2, "H200"), Node(32, 2, "A100")]
    wanted = StageResources(actors=2, gpus=1, accelerator_type="A100")
    check_fits({"source": wanted}, nodes)
    with pytest.raises(ConfigError, match="1 of them find no room"):
        check_fits({"source": wanted, "score": StageResources(actors=3, gpus=1)}, nodes)


def test_generation_costs_five_hundred_clip_scores():
    told = ["sources.diffusion.model=/models/sd", "sources.diffusion.steps=50", "score.model=/models/clip"]
    settings = load(PoolSettings, "demo", told)
    costs = stage_costs(settings, settings.sources["diffusion"])
    ratio = costs["source"].gpu_s / costs["score"].gpu_s
    assert 500 < ratio < 540  # 82.8 TFLOP an image against 0.16


def test_superpixels_cost_what_their_scales_and_their_size_do():
    """Four times the pixels, four times the seconds; two scales, twice one; and never a card."""

    def cost(**options):
        told = f"segment.methods={{a: {json.dumps({'kind': 'slic', **options})}}}"
        return stage_costs(load_settings("demo", [told]), None)["segment"]

    one = cost(segments=[100], side_px=128)
    assert cost(segments=[100, 200], side_px=128).cpu_s == pytest.approx(2 * one.cpu_s)
    assert cost(segments=[100], side_px=256).cpu_s == pytest.approx(4 * one.cpu_s)
    assert one.gpu_s is None


def test_local_actor_must_not_want_more_cores_than_there_are():
    """Ray would believe in them: it is told how many there are."""
    check_cores(_settings(score={"actors": 1, "cpus": 1}))
    with pytest.raises(ConfigError, match=r"resources.score.cpus is 5000 and this machine has \d+ cores"):
        check_cores(_settings(score={"actors": 1, "cpus": 5000}))


def test_local_ray_gets_the_cpus_that_the_actors_book():
    fixed = {"actors": 4, "cpus": 0.5}
    assert cpus_booked(_settings(fixed, fixed, fixed)) == 6.0


def test_plan_is_told_in_a_line_a_stage():
    plan = plan_resources(_settings(), ALL_ON_GPU, [Node(64, 2, "H200")])
    assert describe(plan, 12, "photos").splitlines() == [
        "plan: 12 units of photos, all stages at once",
        "  source   2 actors, each 0.625 GPU and 0.1 CPU",
        "  segment  2 actors, each 0.25 GPU and 0.1 CPU",
        "  score    2 actors, each 0.125 GPU and 0.1 CPU",
    ]


def test_local_ray_gets_the_cpus_of_sources_that_read_too():
    settings = _settings(*[{"actors": 1}] * 3)
    wide = settings.model_copy(update={"fetch": settings.fetch.model_copy(update={"actors": 40})})
    assert cpus_booked(wide, reads=True) == pytest.approx(40 * 0.1 + 2 * 0.1)
    assert cpus_booked(wide) == pytest.approx(3 * 0.1)
