"""Every error of the runtime: one tree, one stable code each."""

import copy
import inspect
import pickle
import re
from typing import Any

import pytest

from abstractruntime import errors
from abstractruntime.errors import (
    EffectFault,
    RetryableError,
    RunBusy,
    RuntimeFault,
    StoreFull,
    TerminalError,
    UnknownRun,
)

# Programs and pages know errors by these. A code is never given to another error; a new error gets
# a new one at the end of its group.
CODES = {
    "AR1000": "RuntimeFault",
    "AR1100": "InvalidInput",
    "AR1101": "NotJson",
    "AR1102": "LimitExceeded",
    "AR1103": "InvalidTime",
    "AR1104": "InvalidIdentifier",
    "AR1105": "InvalidWorkflow",
    "AR1106": "UnknownNode",
    "AR1107": "InvalidPlan",
    "AR1108": "UnknownFunction",
    "AR1109": "UnknownRun",
    "AR1110": "UnknownWorkflow",
    "AR1111": "UnknownSnapshot",
    "AR1112": "UnknownRevision",
    "AR1113": "InvalidStoreUrl",
    "AR1114": "MissingExtra",
    "AR1200": "Refused",
    "AR1201": "NotWaiting",
    "AR1202": "WaitKeyMismatch",
    "AR1203": "StaleAnswer",
    "AR1204": "ChoiceRefused",
    "AR1205": "NotReopenable",
    "AR1206": "RunEnded",
    "AR1207": "DuplicateRun",
    "AR1208": "EffectMismatch",
    "AR1209": "NeedsResolve",
    "AR1210": "RunPaused",
    "AR1211": "ApprovalMismatch",
    "AR1212": "AnswerRefused",
    "AR1213": "NotEntitled",
    "AR1300": "Contended",
    "AR1301": "RevisionConflict",
    "AR1302": "RunBusy",
    "AR1303": "StoreBusy",
    "AR1304": "CounterRefused",
    "AR1400": "StoreFault",
    "AR1401": "StoreUnavailable",
    "AR1402": "StoreReadOnly",
    "AR1403": "StoreFull",
    "AR1404": "StoreClosed",
    "AR1405": "StoreCorrupt",
    "AR1406": "StoreTooNew",
    "AR1407": "UnsupportedByStore",
}
# Beside RuntimeFault's tree: the builtins that programs of the api catch.
BUILTINS = {
    "InvalidInput": ValueError,
    "NotJson": TypeError,
    "UnknownNode": KeyError,
    "UnknownFunction": KeyError,
    "UnknownRun": KeyError,
    "UnknownWorkflow": KeyError,
    "UnknownSnapshot": KeyError,
    "UnknownRevision": KeyError,
    "NotWaiting": ValueError,
    "WaitKeyMismatch": ValueError,
    "StaleAnswer": ValueError,
    "ChoiceRefused": ValueError,
    "NotReopenable": ValueError,
    "RunEnded": ValueError,
    "DuplicateRun": ValueError,
    "EffectMismatch": ValueError,
    "NeedsResolve": ValueError,
    "RunPaused": ValueError,
    "ApprovalMismatch": ValueError,
    "AnswerRefused": ValueError,
    "NotEntitled": PermissionError,
    "MissingExtra": ImportError,
}
FAULTS: dict[str, type[RuntimeFault]] = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, RuntimeFault)
}
GROUPS = {"InvalidInput": "AR11", "Refused": "AR12", "Contended": "AR13", "StoreFault": "AR14"}


def test_codes_are_stable_unique_and_nobody_is_without_one() -> None:
    assert {fault.code: name for name, fault in FAULTS.items()} == CODES
    assert len(FAULTS) == len(CODES)
    assert all("code" in vars(fault) for fault in FAULTS.values())


@pytest.mark.parametrize("name", FAULTS)
def test_an_errors_code_shows_its_group(name: str) -> None:
    groups = {prefix for group, prefix in GROUPS.items() if issubclass(FAULTS[name], FAULTS[group])}
    assert groups == ({FAULTS[name].code[:4]} if name != "RuntimeFault" else set())


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_is_caught_as_the_builtin_that_the_api_names(name: str) -> None:
    builtin = BUILTINS.get(name)
    if builtin is not None:
        assert issubclass(FAULTS[name], builtin)
    assert issubclass(FAULTS[name], Exception)
    if not issubclass(FAULTS[name], FAULTS["InvalidInput"]) and builtin is None:
        assert not issubclass(FAULTS[name], (ValueError, KeyError, TypeError))


@pytest.mark.parametrize("name", FAULTS)
def test_any_error_can_be_shown_copied_and_sent_to_another_process(name: str) -> None:
    fault = FAULTS[name]("what 'it' is", run_id="run-1", path=None, count=0)
    assert str(fault) == fault.message == "what 'it' is"
    assert fault.args == ("what 'it' is",)
    assert fault.where == {"run_id": "run-1", "count": 0}
    assert fault.how_to_fix == FAULTS[name].fix
    for twin in (pickle.loads(pickle.dumps(fault)), copy.copy(fault)):
        assert type(twin) is FAULTS[name]
        assert twin.to_dict() == fault.to_dict()


def test_the_tree_in_the_modules_head_is_the_tree_there_is() -> None:
    assert errors.__doc__ is not None
    drawn = {word for word in re.findall(r"\w+", errors.__doc__) if hasattr(errors, word)}
    assert drawn - {"Any", "ClassVar"} == {
        *FAULTS,
        "EffectFault",
        "OutcomeUnknown",
        "RetryableError",
        "TerminalError",
    }


# ---- how an error explains itself


def test_an_error_explains_what_where_and_how_to_mend_it() -> None:
    fault = RunBusy("Run 'r' is being moved", run_id="r", driver={"pid": 1}, node=None)
    assert fault.explain() == (
        "Run 'r' is being moved [AR1302]\n"
        "  run_id='r', driver={'pid': 1}\n"
        "  fix: wait for that driver, or stop it"
    )


def test_an_error_explains_itself_shorter_when_less_is_known() -> None:
    assert UnknownRun("Unknown run_id: r").explain() == "Unknown run_id: r [AR1109]"
    assert UnknownRun("Unknown run_id: r", run_id="r").explain() == (
        "Unknown run_id: r [AR1109]\n  run_id='r'"
    )
    assert StoreFull("No space").explain() == (
        "No space [AR1403]\n  fix: free space on the medium, then call again"
    )


@pytest.mark.parametrize(("given", "expected"), [("look there", "look there"), ("", "")])
def test_the_way_to_mend_it_can_be_given_or_taken_away(given: str, expected: str) -> None:
    fault = StoreFull("No space", fix=given)
    assert fault.how_to_fix == expected
    assert ("fix:" in fault.explain()) is bool(expected)
    assert StoreFull.fix == "free space on the medium, then call again"


def test_an_error_tells_machines_the_same() -> None:
    fault = RunBusy("Run 'r' is being moved", run_id="r", revision=3, driver={"pid": 1})
    assert fault.to_dict() == {
        "code": "AR1302",
        "error": "RunBusy",
        "message": "Run 'r' is being moved",
        "where": {"run_id": "r", "revision": "3", "driver": "{'pid': 1}"},
        "fix": "wait for that driver, or stop it",
    }


def test_a_place_may_be_called_message_or_fix_free() -> None:
    fault = RuntimeFault("said", message="other", self="x")
    assert fault.message == "said"
    assert fault.where == {"message": "other", "self": "x"}


# ---- what handlers raise


def test_what_handlers_raise_is_no_error_of_the_runtime() -> None:
    for kind in (RetryableError, TerminalError):
        assert issubclass(kind, EffectFault)
        assert not issubclass(kind, RuntimeFault)


@pytest.mark.parametrize(
    ("fault", "text", "retry_after"),
    [
        (RetryableError(), "", None),
        (RetryableError("busy"), "busy", None),
        (RetryableError("busy", retry_after=2.5), "busy", 2.5),
        (RetryableError(retry_after=0), "", 0),
    ],
)
def test_a_retryable_error_may_say_when(fault: RetryableError, text: str, retry_after: Any) -> None:
    assert str(fault) == text
    assert fault.retry_after == retry_after
    assert pickle.loads(pickle.dumps(fault)).retry_after == retry_after


def test_the_place_of_a_retry_is_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        RetryableError("busy", 2.5)  # type: ignore[misc]
