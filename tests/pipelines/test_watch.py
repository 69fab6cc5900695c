"""From counts to what is told of each stage, by hand."""

from collections import Counter

from xpaste_ray.config import StageResources
from xpaste_ray.pace import NOTHING_KNOWN, StageState, Working
from xpaste_ray.pipelines.ledger import Ledger
from xpaste_ray.pipelines.watch import Watch

# Two GPUs, of which source books 0.75 each and score 0.25 each; segment has three actors on processors.
PLAN = {
    "source": StageResources(actors=2, gpus=0.75),
    "segment": StageResources(actors=3),
    "score": StageResources(actors=2, gpus=0.25),
}


class _Told(dict):
    """A progress that keeps the last that it was told of each stage."""

    def advance(self, stage, done, state=NOTHING_KNOWN):
        self[stage] = (done, state)


def _ledger():
    ledger = Ledger({stage: one.actors for stage, one in PLAN.items()})
    for unit in range(6):
        ledger.begin("source", str(unit))
    for unit in range(5):  # and one is in flight
        ledger.finish("source", str(unit), 16, 1.0)
    return ledger


def _tell(ledger, **rows):
    told = _Told()
    Watch(told, PLAN).tell(rows, ledger.state())
    return told


def test_stage_is_told_with_its_images_its_queue_and_the_gpus_that_work():
    ledger = _ledger()
    ledger.begin("segment", "0")
    told = _tell(ledger, source=5, segment=0, score=0, write=0)
    one_gpu_of_two = Working(0.75, 2.0, "GPUs")  # a source at work, no score
    assert told["source"] == (5, StageState(80, None, working=one_gpu_of_two))
    assert told["segment"] == (0, StageState(0, 4, working=Working(1, 3, "actors")))  # 5 came, 1 in work
    assert told["score"] == (0, StageState(0, 0, waiting=True, working=one_gpu_of_two))
    assert told["write"] == (0, StageState(queued=0, waiting=True))


def test_unit_is_done_when_ray_and_the_ledger_have_counted_it():
    """Ray has handed on six units when the ledger has heard of five, of 16 images each."""
    done, state = _tell(_ledger(), source=6, segment=0)["source"]
    assert (done, state.images) == (5, 80)


def test_units_whose_actors_died_are_not_in_work():
    ledger = _ledger()
    for unit in range(10, 15):
        ledger.begin("source", str(unit))  # and its process dies
    assert _tell(ledger, source=5)["source"][1].working == Working(1.5, 2.0, "GPUs")


def test_loading_actors_are_counted():
    ledger = Ledger({stage: one.actors for stage, one in PLAN.items()})
    ledger.loading("source")
    assert _tell(ledger, source=0)["source"][1].loading == 1
    ledger.loaded("source", 2.0)
    assert _tell(ledger, source=0)["source"][1].loading == 0


def test_without_a_ledger_only_rows_are_told():
    told = _Told()
    Watch(told).tell({"compose": 7}, None)
    assert told == {"compose": (7, NOTHING_KNOWN)}


def test_state_of_a_ledger_counts_units_in_flight_by_stage():
    ledger = _ledger()
    ledger.begin("score", "0")
    assert ledger.state().in_flight == Counter(source=1, score=1)
