"""The flow metrics: a fold over events, as JSON and for Prometheus."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.model import event as events
from dre_core.model import identifier
from dre_core.model.flow import BUCKETS_SECONDS, Histogram, fold

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUN = (
    ("operation.created", 0.0), ("operation.validating", 0.0), ("operation.ready", 0.1), ("operation.started", 0.2),
    ("operation.collecting", 2.2), ("evidence.stored", 2.5), ("evidence.stored", 2.5), ("operation.verifying", 2.6),
    ("verification.started", 2.6), ("verification.completed", 2.9), ("operation.documenting", 3.0),
    ("operation.sealed", 4.0),
)  # fmt: skip


def history(*steps, at=0.0, **data):
    operation = identifier.new(identifier.OPERATION)
    return [
        events.new(
            name,
            operation=operation,
            source="dre test",
            data=data if name == "operation.sealed" else {},
            now=lambda offset=offset: START + timedelta(seconds=at + offset),
        )
        for name, offset in steps
    ]


def numbers(found, after=10.0):
    return fold(found, START + timedelta(seconds=after)).to_json()


def test_one_run():
    shown = numbers(history(*RUN, outcome="passed"))
    assert shown["throughput"]["operations"] == {
        "total": 1,
        "per_minute": {"1m": 1.0, "5m": 0.2, "1h": 0.016667},
    }
    assert shown["throughput"]["evidence"]["total"] == 2
    assert shown["latency"]["operation_duration"]["sum_seconds"] == 2.0
    assert shown["latency"]["evidence_processing"]["sum_seconds"] == 1.8
    assert shown["latency"]["verification_time"]["sum_seconds"] == 0.3
    assert shown["latency"]["end_to_end"]["sum_seconds"] == 4.0
    assert shown["outcomes"] == {"passed": 1}
    assert shown["errors"] == {"total": 0, "by_type": {}, "by_stage": {}}
    assert shown["queues"] == {"depth": 0}


def test_windows_end_now():
    found = history(*RUN, outcome="passed") + history(*RUN, at=100.0, outcome="failed")
    shown = numbers(found, after=130.0)
    assert shown["throughput"]["operations"]["per_minute"] == {"1m": 1.0, "5m": 0.4, "1h": 0.033333}
    assert shown["errors"]["by_type"] == {"failed": 1}


def test_errors_name_their_stage_and_what_is_under_way_is_counted():
    found = history(*RUN[:4], ("operation.failed", 1.0)) + history(*RUN[:2], ("operation.rejected", 1.0))
    found += history(*RUN[:5])
    shown = numbers(found)
    assert shown["errors"]["by_stage"] == {"running": 1, "validating": 1}
    assert shown["queues"]["depth"] == 1


@given(st.lists(st.floats(-10, 1e6), max_size=50))
def test_buckets_add_up(values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    counts = [count for _, count in histogram.cumulative()]
    assert counts == sorted(counts)
    assert counts[-1] == len(values)
    for bound, (_, count) in zip(BUCKETS_SECONDS, histogram.cumulative(), strict=False):
        assert count == sum(value <= bound for value in values)


def test_prometheus_reads_it():
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    found = history(*RUN, outcome='od"d\n')
    text = fold(found, START + timedelta(seconds=10)).to_prometheus()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert families["dre_end_to_end_seconds"].type == "histogram"
    assert {sample.labels["outcome"] for sample in families["dre_outcomes"].samples} == {'od"d\n'}
    assert [s.value for s in families["dre_operations"].samples] == [1.0]


def test_the_command(project):
    import json

    project.dre("wrap", "--", "true")
    project.dre("wrap", "--", "false")
    shown = json.loads(project.dre("log", "metrics").stdout)
    assert shown["outcomes"] == {"failed": 1, "passed": 1}
    assert shown["latency"]["end_to_end"]["count"] == 2
    text = project.dre("log", "metrics", "--format", "prometheus").stdout.decode()
    assert 'dre_outcomes_total{outcome="passed"} 1\n' in text
