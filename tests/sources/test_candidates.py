from dataclasses import replace

import numpy as np
import pytest

from tests.backgrounds.material import picture
from xpaste_ray.errors import ConfigError
from xpaste_ray.records import Candidate, Prompt, Proposal
from xpaste_ray.runs import RunDir, write_json
from xpaste_ray.sources.candidates import Candidates, candidate_of
from xpaste_ray.storage import locate
from xpaste_ray.unit_files import write_unit

OPTION = "sources.again.run"
PROMPT = Prompt("475-0-r", 475, "frog", 0, "diffusion", "a photo of a frog", 7)
MADE = Candidate(PROMPT, "model@1", image=picture(16, 16))


def _of(index, **changes):
    return replace(MADE, prompt=replace(PROMPT, candidate_id=f"475-{index}-r", index=index), **changes)


def _write(root, units, fingerprint="f1"):
    run = RunDir(locate(root))
    for number, candidates in enumerate(units):
        write_unit(run, number, 0, candidates, "recipe", 1)
    write_json(run.run_json, {"steps": {"source": {"fingerprint": fingerprint, "settings": {}}}})
    return run.root


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_stored_images_are_listed_with_their_prompts(tmp_path, s3, where):
    root = _write(tmp_path if where == "disk" else f"{s3()}/run", [[_of(0)], [_of(1), _of(2)]])
    rows = Candidates(root, OPTION).listing.to_pylist()
    assert [candidate_of(row["uri"]) for row in rows] == [
        ("00000/unit-00000", "475-0-r"), ("00001/unit-00000", "475-1-r"), ("00001/unit-00000", "475-2-r")
    ]  # fmt: skip
    assert {(row["category"], row["text"], row["seed"]) for row in rows} == {("frog", "a photo of a frog", 7)}


def test_what_the_source_rejected_is_left_out(tmp_path):
    """With an image (black) and without one. What a later stage rejected is as good as any."""
    root = _write(tmp_path, [[
        _of(0, status="rejected", reason="generation_failed", image=None),
        _of(1, status="rejected", reason="black_image"),
        _of(2, status="rejected", reason="unsafe_image"),
        _of(3, status="rejected", reason="segment_failed"),
        _of(4, proposals=(Proposal("grabcut", 0, np.zeros((16, 16), np.uint8), "rejected", "empty_mask"),)),
    ]])  # fmt: skip
    ids = [candidate_of(uri)[1] for uri in Candidates(root, OPTION).listing["uri"].to_pylist()]
    assert ids == ["475-3-r", "475-4-r"]


def test_licence_and_address_of_web_images_are_kept(tmp_path):
    def web(index, **told):
        one = _of(index)
        return replace(one, prompt=replace(one.prompt, text=None, seed=None, licence="CC0", **told))

    candidates = [
        web(0, uri="https://a.example/1.jpg"),
        web(1, uri="https://a.example/2.jpg", page="https://b.example"),
        web(2, uri="frog/1.jpg"),
        web(3, uri="00000/unit-00007#475-3-r#https://a.example/3.jpg#top"),  # had it from another run
        web(4, uri="00000/unit-00007#475-4-r"),
    ]
    listing = Candidates(_write(tmp_path, [candidates]), OPTION).listing
    assert listing["uri"].to_pylist() == [
        "00000/unit-00000#475-0-r#https://a.example/1.jpg",
        "00000/unit-00000#475-1-r#https://a.example/2.jpg",
        "00000/unit-00000#475-2-r",
        "00000/unit-00000#475-3-r#https://a.example/3.jpg#top",
        "00000/unit-00000#475-4-r",
    ]
    assert candidate_of(listing["uri"][3].as_py()) == ("00000/unit-00000", "475-3-r")
    assert listing["page"].to_pylist() == [None, "https://b.example", None, None, None]
    assert listing["licence"].to_pylist() == ["CC0"] * 5


def test_contents_follow_the_earlier_runs_source_not_its_place(tmp_path):
    def contents(name, units, fingerprint="f1"):
        return Candidates(_write(tmp_path / name, units, fingerprint), OPTION).contents

    first = contents("here", [[_of(0)]])
    masks = (Proposal("grabcut", 0, np.full((16, 16), 255, np.uint8)),)
    assert first == contents("there", [[_of(0, proposals=masks)]])
    assert first != contents("another", [[_of(0)]], "f2")
    assert first != contents("more", [[_of(0)], [_of(1)]])


def test_what_is_no_run_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"sources\.again\.run: .* is no run: it has no run\.json"):
        Candidates(locate(tmp_path), OPTION)
    with pytest.raises(ConfigError, match="has no candidates: give the run of a `pool build`"):
        Candidates(_write(tmp_path, []), OPTION)


def test_damaged_unit_is_an_error_that_says_how_to_mend_it(tmp_path):
    root = _write(tmp_path, [[_of(0)]])
    (root / "candidates/00000/unit-00000.parquet").write_whole(b"PAR1")
    with pytest.raises(ConfigError, match=r"unit-00000\.parquet is damaged .*pool verify .* --repair"):
        Candidates(root, OPTION)
