"""Several things at once."""

import threading

import pytest

from tests.pipelines.progress import Told
from xpaste_ray.pipelines.at_once import OneOfSeveral, each_done


def test_with_one_slot_all_is_done_in_this_thread_and_in_order():
    threads = []
    done = list(each_done("abc", 1, lambda thing, slot: threads.append(threading.current_thread()), print))
    assert done == [("a", None), ("b", None), ("c", None)]
    assert set(threads) == {threading.main_thread()}


def test_no_more_than_the_slots_work_at_a_time_and_each_in_its_own():
    busy, most, lock, both = set(), [], threading.Lock(), threading.Barrier(2)

    def work(thing, slot):
        with lock:
            assert slot not in busy
            busy.add(slot)
            most.append(len(busy))
        both.wait(10)
        with lock:
            busy.remove(slot)

    done = {thing for thing, error in each_done("abcd", 2, work, print) if error is None}
    assert done == set("abcd") and max(most) == 2


@pytest.mark.parametrize("slots", [1, 2])
def test_what_one_raises_is_given_back_and_the_others_go_on(slots):
    def work(thing, slot):
        if thing == "b":
            raise ValueError(thing)

    found = {thing: repr(error) for thing, error in each_done("abc", slots, work, print)}
    assert found == {"a": "None", "b": "ValueError('b')", "c": "None"}


def test_who_stops_early_has_all_cancelled_and_waits_for_their_ends():
    told, ended = threading.Event(), []

    def work(thing, slot):
        if thing != "a":
            told.wait(10)
            ended.append(thing)

    for _ in (found := each_done("abc", 2, work, told.set)):
        break
    found.close()
    assert ended == ["b"]  # c was never begun


def test_a_progress_says_who_it_is_of_and_keeps_stages_of_slots_apart():
    class Bars(Told):
        def begin(self, totals, unit):
            self.lines.append((totals, unit))

    told = Bars()
    one = OneOfSeveral(told, "real, seed 0", 1, threading.Lock())
    one.say("note")
    one.begin({"train": 9}, "iterations")
    assert told.lines == ["real, seed 0: note", ({"train 2": 9}, "iterations")]
