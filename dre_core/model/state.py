"""The two state machines, as tables: what an operation and a piece of evidence can go through.

States and actions carry the names of the system architecture; timeouts and retries stand beside them and
are defaults of the configuration. The state of an operation is a fold of its events over this table:
``EVENT_ACTIONS`` says which event takes which action. A pair that the table lacks is a
:class:`StateError` that names both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from dre_core.errors import StateError


class OperationState(str, Enum):
    """Where an operation stands."""

    PENDING = "pending"
    VALIDATING = "validating"
    READY = "ready"
    RUNNING = "running"
    COLLECTING = "collecting"
    VERIFYING = "verifying"
    DOCUMENTING = "documenting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EvidenceState(str, Enum):
    """Where a piece of evidence stands."""

    CAPTURING = "capturing"
    PROCESSING = "processing"
    STORING = "storing"
    STORED = "stored"
    VERIFYING = "verifying"
    VERIFIED = "verified"
    ARCHIVED = "archived"
    FAILED = "failed"


_O = OperationState
OPERATION: Mapping[tuple[OperationState, str], OperationState] = {
    (_O.PENDING, "validate"): _O.VALIDATING,
    (_O.VALIDATING, "pass"): _O.READY,
    (_O.VALIDATING, "fail"): _O.FAILED,
    (_O.READY, "start"): _O.RUNNING,
    (_O.READY, "error"): _O.FAILED,
    (_O.RUNNING, "collect"): _O.COLLECTING,
    (_O.RUNNING, "cancel"): _O.CANCELLED,
    (_O.RUNNING, "error"): _O.FAILED,
    (_O.COLLECTING, "verify"): _O.VERIFYING,
    (_O.COLLECTING, "cancel"): _O.CANCELLED,
    (_O.COLLECTING, "error"): _O.FAILED,
    (_O.VERIFYING, "pass"): _O.DOCUMENTING,
    (_O.VERIFYING, "fail"): _O.FAILED,
    (_O.DOCUMENTING, "complete"): _O.COMPLETED,
    (_O.DOCUMENTING, "error"): _O.COMPLETED,
    (_O.FAILED, "retry"): _O.PENDING,
}

_E = EvidenceState
EVIDENCE: Mapping[tuple[EvidenceState, str], EvidenceState] = {
    (_E.CAPTURING, "process"): _E.PROCESSING,
    (_E.CAPTURING, "fail"): _E.FAILED,
    (_E.PROCESSING, "store"): _E.STORING,
    (_E.PROCESSING, "fail"): _E.FAILED,
    (_E.STORING, "stored"): _E.STORED,
    (_E.STORING, "fail"): _E.FAILED,
    (_E.STORED, "verify"): _E.VERIFYING,
    (_E.STORED, "archive"): _E.ARCHIVED,
    (_E.VERIFYING, "verified"): _E.VERIFIED,
    (_E.VERIFYING, "fail"): _E.FAILED,
    (_E.VERIFIED, "archive"): _E.ARCHIVED,
    (_E.ARCHIVED, "restored"): _E.STORED,
    (_E.FAILED, "retry"): _E.CAPTURING,
}

# Seconds an operation may stay in a state, and how often it may be tried again; configuration overrides them.
TIMEOUT_SECONDS: Mapping[OperationState, float] = {_O.VALIDATING: 5.0, _O.VERIFYING: 30.0}
RETRIES: Mapping[OperationState, int] = {_O.COLLECTING: 3}

EVENT_ACTIONS: Mapping[str, str] = {
    "operation.validating": "validate",
    "operation.ready": "pass",
    "operation.rejected": "fail",
    "operation.started": "start",
    "operation.collecting": "collect",
    "operation.verifying": "verify",
    "operation.documenting": "pass",
    "operation.completed": "complete",
    "operation.failed": "error",
    "operation.unsupported": "fail",
    "operation.cancelled": "cancel",
    "operation.retried": "retry",
}


def next_operation_state(state: OperationState, action: str) -> OperationState:
    """The state that an action leads to.

    Raises:
        StateError: The table has no such pair.
    """
    try:
        return OPERATION[state, action]
    except KeyError:
        raise StateError(f"an operation that is {state.value} can't {action}") from None


def next_evidence_state(state: EvidenceState, action: str) -> EvidenceState:
    """The state that an action leads to.

    Raises:
        StateError: The table has no such pair.
    """
    try:
        return EVIDENCE[state, action]
    except KeyError:
        raise StateError(f"evidence that is {state.value} can't {action}") from None


def fold(event_types: Iterable[str]) -> OperationState:
    """State of an operation from the types of its events, in the order of the log.

    Events that are no transition (output, evidence, verification progress) are passed over.

    Raises:
        StateError: The events describe a transition that the table lacks.
    """
    state = OperationState.PENDING
    for event_type in event_types:
        action = EVENT_ACTIONS.get(event_type)
        if action is not None:
            state = next_operation_state(state, action)
    return state
