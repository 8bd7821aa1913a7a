"""Sliding windows, trend and anomalies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dre_core.capture.windows import ALERTS_LIMIT, VALUES_LIMIT, Metric, Metrics, Window

values = st.floats(0, 1e12)


@given(st.lists(st.tuples(st.floats(0, 10), values), max_size=60))
def test_a_window_holds_exactly_its_last_seconds(steps):
    window, at, everything = Window(20.0), 0.0, []
    for step, value in steps:
        at += step
        window.add(at, value)
        everything.append((at, value))
    inside = [value for when, value in everything if when > at - 20.0]
    assert len(window) == len(inside)
    if inside:
        assert min(inside) - 1 <= window.average <= max(inside) + 1


def test_a_window_is_bounded():
    window = Window(1e9)
    for number in range(5 * VALUES_LIMIT):
        window.add(float(number), 1.0)
    assert len(window) <= VALUES_LIMIT
    assert window.average == 1.0


def feed(metric, values, start=0.0, step=1.0):
    alerts = [metric.process(start + number * step, value) for number, value in enumerate(values)]
    return [alert for alert in alerts if alert is not None]


def test_steady_values_raise_no_alert():
    assert feed(Metric("m", 0.25), [1.0, 1.1, 0.9] * 100) == []


def test_a_jump_is_an_anomaly_once_a_minute_and_says_what_was_expected():
    alerts = feed(Metric("m", 0.25), [1.0, 1.1, 0.9] * 20 + [9.0] * 30)
    assert len(alerts) == 1
    (alert,) = alerts
    assert (alert.metric, alert.value, alert.at_ms) == ("m", 9.0, 60_000)
    assert 0.9 < alert.expected < 1.1
    assert alert.severity == "critical"


def test_a_small_step_from_a_quantity_that_never_moved_is_none():
    assert feed(Metric("m", 0.25), [0.0] * 50 + [0.2]) == []
    assert feed(Metric("m", 0.25), [0.0] * 50 + [0.5]) != []


def test_too_few_values_say_nothing():
    assert feed(Metric("m", 0.25), [0.0, 100.0, 0.0, 100.0]) == []


def test_the_trend():
    rising, falling, steady = Metric("a", 1), Metric("b", 1), Metric("c", 1)
    feed(rising, [1.0] * 240 + [2.0] * 60)
    feed(falling, [2.0] * 240 + [1.0] * 60)
    feed(steady, [2.0] * 300)
    assert [metric.trend for metric in (rising, falling, steady)] == ["rising", "falling", "steady"]
    assert rising.to_json() == {"instant": 2.0, "1m": 2.0, "5m": 1.2, "1h": 1.2, "trend": "rising"}


def test_totals_become_rates_and_a_clock_that_stands_is_passed_over():
    metrics = Metrics()
    metrics.process(1.0, 1.0, 100, (0, 0), 1)
    metrics.process(3.0, 5.0, 100, (20, 0), 1)
    metrics.process(3.0, 5.0, 100, (20, 0), 1)
    windows = metrics.to_json()["windows"]
    assert windows["cpu_cores"]["instant"] == 2.0
    assert windows["read_bytes_per_second"]["instant"] == 10.0


@given(st.lists(st.tuples(values, values), max_size=200))
def test_alerts_are_bounded_whatever_comes(samples):
    metrics = Metrics()
    for number, (cpu, rss) in enumerate(samples):
        metrics.process(number * 61.0, cpu, int(rss), (0, 0), 1)
    assert len(metrics.alerts) <= ALERTS_LIMIT
