"""What the methods of the segment stage cost, and what follows for its actors."""

import pytest

from xpaste_ray.config import PoolSettings, load
from xpaste_ray.pipelines.resources import Node, plan_resources, stage_costs

SAM = "{kind: sam, model: /models/sam}"
AUTO = "{kind: sam, model: /models/sam, prompt: auto, points_per_side: 16}"


def _settings(methods):
    return load(
        PoolSettings,
        "demo",
        [
            f"segment.methods={methods}", "sources.diffusion.model=/models/sd", "sources.diffusion.steps=50",
            "score.model=/models/clip", "resources.source=auto", "resources.segment=auto",
            "resources.score=auto",
        ],
    )  # fmt: skip


def _costs(methods):
    settings = _settings(methods)
    return stage_costs(settings, settings.sources["diffusion"])


@pytest.mark.parametrize(
    ("methods", "cpu_s", "gpu_s"),
    [
        ("{a: {kind: grabcut}}", 0.7, None),
        ("{a: {kind: full}}", 0.001, None),
        (f"{{a: {SAM}}}", 0.9756 / 0.05, 0.9756 / 300),  # 0.972 TFLOP of the encoder, 0.0036 a prompt
        (f"{{a: {AUTO}}}", 1.8936 / 0.05, 1.8936 / 300),  # 256 prompts: 0.9216 TFLOP
        (f"{{a: {SAM}, b: {{kind: grabcut}}}}", 0.9756 / 0.05 + 0.7, 0.9756 / 300 + 0.7),
    ],
)
def test_cost_is_the_sum_of_the_methods(methods, cpu_s, gpu_s):
    cost = _costs(methods)["segment"]
    assert cost.cpu_s == pytest.approx(cpu_s)
    assert cost.gpu_s == (None if gpu_s is None else pytest.approx(gpu_s))


@pytest.mark.parametrize(("methods", "gpus"), [("{a: {kind: grabcut}}", 0), (f"{{a: {SAM}}}", 0.25)])
def test_a_network_shares_the_card_and_grabcut_stays_on_processors(methods, gpus):
    settings = _settings(methods)
    plan = plan_resources(settings.resources, _costs(methods), [Node(64, 2)])
    assert plan["segment"].gpus == gpus and plan["segment"].device == ("cuda" if gpus else "cpu")
    assert plan["source"].actors == 2
