import json
from http import HTTPStatus

import pytest

from xpaste_ray.serve.problems import Problem, problem_response, refused, too_many


def _told(problem):
    response = problem_response(problem, "id-1")
    assert response.headers["content-type"] == "application/problem+json"
    return json.loads(response.body)


@pytest.mark.parametrize("status", [400, 401, 404, 405, 406, 408, 409, 413, 415, 422, 429, 500, 503])
def test_a_problem_has_the_members_of_rfc_9457_and_the_requests_id(status):
    assert _told(Problem(status, "why")) == {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": "why",
        "request_id": "id-1",
    }  # fmt: skip


def test_a_refused_request_is_told_which_field_and_why():
    told = _told(refused("options.blend", "is not for requests here"))
    assert told["detail"] == "options.blend: is not for requests here"
    assert told["errors"] == [{"field": "options.blend", "message": "is not for requests here"}]


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (0.4, "1"), (2.6, "3"), (100, "100")])
def test_whoever_comes_too_often_is_told_when_to_come_again(seconds, told):
    response = problem_response(too_many(seconds), "")
    assert (response.status_code, response.headers["retry-after"]) == (429, told)


def test_a_megabyte_that_a_client_sent_does_not_come_back():
    told = _told(refused("x" * 10**6, "y" * 10**6))
    assert len(json.dumps(told)) < 2000 and told["detail"].endswith("...")


def test_what_cannot_be_printed_is_still_an_answer():
    assert _told(refused("\ud800\u0000", "\n"))["errors"][0]["field"] == "\ud800\u0000"
