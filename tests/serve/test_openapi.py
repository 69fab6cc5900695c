"""The OpenAPI document: it says what there is, and what it says is so."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serve.asking import FORMS, Asking
from xpaste_ray.serve.requests import ComposeRequest

OPERATIONS = [
    ("get", "/healthz"), ("get", "/readyz"), ("get", "/v1/pool"), ("get", "/v1/categories"),
    ("get", "/v1/instances"), ("get", "/v1/instances/{instance_id}.png"),
    ("get", "/v1/instances/{instance_id}"), ("post", "/v1/compose"),
    ("get", "/v1/samples/{recipe}/{seed}/{index}"), ("post", "/v1/plans"), ("post", "/v1/render"),
]  # fmt: skip
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip


@pytest.fixture(scope="module")
def document(asking):
    return asking.get("/openapi.json").json()


def _operations(document):
    return {
        (method, path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_every_operation_is_there_with_words_on_it(document):
    operations = _operations(document)
    assert set(operations) == set(OPERATIONS)
    for operation in operations.values():
        assert operation["summary"] and operation["tags"]
        for answer in operation["responses"].values():
            assert answer["description"]


def test_every_operation_tells_of_every_status_that_it_can_give(document):
    always = {"200", "400", "401", "408", "413", "415", "421", "422", "500"}
    composing = always | {"406", "409", "429", "503"}
    more = {
        "/v1/instances": always | {"404"},
        "/v1/instances/{instance_id}": always | {"404"},
        "/v1/instances/{instance_id}.png": always | {"304", "404", "429", "503"},
        "/v1/compose": composing,
        "/v1/render": composing,
        "/v1/plans": composing - {"406"},
        "/v1/samples/{recipe}/{seed}/{index}": composing | {"304", "404"},
    }
    for (_, path), operation in _operations(document).items():
        assert set(operation["responses"]) == more.get(path, always), path


def test_every_error_is_problem_details(document):
    for operation in _operations(document).values():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_batches_are_told_in_all_their_forms_with_their_headers(document):
    answer = document["paths"]["/v1/compose"]["post"]["responses"]["200"]
    assert set(answer["content"]) == set(FORMS) and "ETag" in answer["headers"]
    one = document["paths"]["/v1/samples/{recipe}/{seed}/{index}"]["get"]["responses"]["200"]
    assert set(one["content"]) == {*FORMS, "image/png", "image/jpeg", "image/webp"}


def test_only_health_needs_no_token(document):
    without = {path for (_, path), one in _operations(document).items() if "security" not in one}
    assert without == {"/healthz", "/readyz"}
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_references_lead_somewhere(document):
    names = set(document["components"]["schemas"])
    text = json.dumps(document)
    told = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert told <= names and "$defs" not in text


def test_examples_are_answered(asking, document):
    examples = document["components"]["schemas"]["ComposeRequest"]["examples"]
    assert examples == ComposeRequest.model_config["json_schema_extra"]["examples"]
    for example in examples:
        for path in ("/v1/compose", "/v1/plans"):
            assert asking.post(path, example).status_code == 200


def test_the_page_of_the_document_is_there(asking):
    assert "openapi.json" in asking.get("/docs").text


@pytest.fixture(scope="module")
def described(told):
    """The document of an app whose ceilings are so low that no example takes long."""
    low = told.limits.model_copy(update={"count": 3, "side_px": 96, "instances": 20})
    with Asking(told.model_copy(update={"limits": low})) as asking:
        yield schemathesis.openapi.from_asgi("/openapi.json", asking.app)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_request_gets_what_the_document_does_not_tell(described, method, path, mode):
    """Neither a failure, nor a status, form or content of its own, whatever is sent."""
    strategy = described[path][method].as_strategy(generation_mode=mode)

    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def check(case):
        case.call_and_validate(checks=CHECKS)

    try:
        check()
    except Unsatisfiable:  # there is no wrong way to ask
        assert mode is GenerationMode.NEGATIVE and not described[path][method].body
