"""Every metric of the runtime, in one registry that the health server shows.

Other rooms define their own with `registry=metrics.REGISTRY` and the prefix `kubelb_`.
Labels take values from small fixed sets (controller names, results), never object names.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

RECONCILES = Counter(
    "kubelb_reconcile_total",
    "Reconciles by controller and result (done, again, conflict, error, terminal, bug).",
    ["controller", "result"],
    registry=REGISTRY,
)
RECONCILE_SECONDS = Histogram(
    "kubelb_reconcile_duration_seconds",
    "How long one reconcile took.",
    ["controller"],
    buckets=_FAST,
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "kubelb_queue_depth", "Keys that wait for a worker now, without delayed ones.", ["controller"], registry=REGISTRY
)
QUEUE_SECONDS = Histogram(
    "kubelb_queue_wait_seconds",
    "How long a key waited for a worker after it was due.",
    ["controller"],
    buckets=_FAST,
    registry=REGISTRY,
)
INFORMER_OBJECTS = Gauge("kubelb_informer_objects", "Objects in the cache.", ["resource"], registry=REGISTRY)
INFORMER_LISTS = Counter(
    "kubelb_informer_lists_total",
    "Lists by resource and result (ok, error, held).",
    ["resource", "result"],
    registry=REGISTRY,
)
INFORMER_BROKEN_WATCHES = Counter(
    "kubelb_informer_broken_watches_total", "Watches that ended with an error.", ["resource"], registry=REGISTRY
)
PROGRAMMING_ERRORS = Counter(
    "kubelb_programming_errors_total",
    "Unforeseen exceptions, by the part that raised them.",
    ["where"],
    registry=REGISTRY,
)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
