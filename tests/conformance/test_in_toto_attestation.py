"""The reference library of in-toto's attestation framework reads every Statement of a real operation."""

from __future__ import annotations

import base64
import json

import pytest

pytest.importorskip("in_toto_attestation", reason="in-toto-attestation is not installed (tox -e conformance)")

from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

TestResult.__test__ = False


@pytest.fixture
def statements(project):
    """Parsed payloads of a judged operation with one xfail, by predicate type."""
    project.write("test_more.py", "import pytest\n@pytest.mark.xfail\ndef test_x():\n    assert 0\n")
    project.commit()
    assert project.pytest("--dre", "-q").returncode == 0
    (path,) = (project.path / ".dre" / "experiments").glob("*/run.intoto.jsonl")
    envelopes = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [json.loads(base64.b64decode(envelope["payload"])) for envelope in envelopes]


def test_every_statement_is_valid(statements):
    assert len(statements) >= 5
    for payload in statements:
        message = ParseDict(payload, StatementMessage())
        Statement.copy_from_pb(message).validate()


def test_the_test_result_predicate(statements):
    (predicate,) = [s["predicate"] for s in statements if "/test-result/" in s["predicateType"]]
    assert set(predicate) <= {"result", "configuration", "url", "passedTests", "warnedTests", "failedTests"}
    message = ParseDict(predicate, TestResult())
    assert message.result == "WARNED"
    assert message.configuration[0].name == "pytest"
    assert list(message.passed_tests) == ["test_shop.py::test_two", "test_shop.py::test_four"]
    assert list(message.warned_tests) == ["test_more.py::test_x"]


def test_the_verification_summary(statements):
    (predicate,) = [
        s["predicate"] for s in statements if s["predicateType"].endswith("verification_summary/v1")
    ]
    assert predicate["verificationResult"] == "PASSED"
    assert predicate["verifiedLevels"] == ["DRE_LEVEL_2"]
    assert {entry["uri"].split(":")[0] for entry in predicate["inputAttestations"]} == {"urn"}


def test_a_wrapped_run_with_its_trace(project):
    assert project.wrap_pytest("-q").returncode == 0
    (path,) = (project.path / ".dre" / "experiments").glob("*/run.intoto.jsonl")
    found = [
        json.loads(base64.b64decode(json.loads(line)["payload"])) for line in path.read_bytes().splitlines()
    ]
    for payload in found:
        Statement.copy_from_pb(ParseDict(payload, StatementMessage())).validate()
    (trace,) = [s["predicate"] for s in found if "/runtime-trace/" in s["predicateType"]]
    # No message is published for this predicate; its required members are those of the specification.
    assert set(trace) == {"monitor", "monitoredProcess", "monitorLog", "metadata"}
    assert {"type", "tracePolicy"} <= set(trace["monitor"])
    assert set(trace["monitoredProcess"]) == {"hostID", "type", "event"}
    assert trace["monitorLog"]["process"]


def test_a_changed_statement_is_refused(statements):
    broken = {**statements[0], "predicateType": ""}
    with pytest.raises(ValueError):
        Statement.copy_from_pb(ParseDict(broken, StatementMessage())).validate()
