from __future__ import annotations

import pytest

from dre_core.errors import StateError
from dre_core.model.state import (
    EVENT_ACTIONS,
    OPERATION,
    EvidenceState,
    OperationState,
    fold,
    next_evidence_state,
    next_operation_state,
)

WHOLE_RUN = (
    "operation.created", "operation.validating", "operation.ready", "operation.started", "operation.output",
    "operation.collecting", "evidence.stored", "operation.verifying", "verification.started",
    "operation.documenting", "operation.completed", "operation.sealed",
)  # fmt: skip


def test_a_whole_run():
    assert fold(WHOLE_RUN) is OperationState.COMPLETED


@pytest.mark.parametrize("cut", range(len(WHOLE_RUN)))
def test_every_beginning_of_a_run_is_a_state(cut):
    assert isinstance(fold(WHOLE_RUN[:cut]), OperationState)


def test_an_unknown_pair_names_both():
    with pytest.raises(StateError, match="an operation that is completed can't start"):
        next_operation_state(OperationState.COMPLETED, "start")
    with pytest.raises(StateError, match="evidence that is stored can't fail"):
        next_evidence_state(EvidenceState.STORED, "fail")


def test_a_failed_operation_may_be_tried_again():
    assert next_operation_state(OperationState.FAILED, "retry") is OperationState.PENDING


def test_a_failed_documentation_still_completes():
    assert next_operation_state(OperationState.DOCUMENTING, "error") is OperationState.COMPLETED


def test_every_action_of_an_event_is_in_the_table():
    assert set(EVENT_ACTIONS.values()) <= {action for _, action in OPERATION}


def test_every_state_can_be_reached():
    assert {OperationState.PENDING, *OPERATION.values()} == set(OperationState)
