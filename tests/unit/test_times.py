"""Times as text: one normal form that sorts as it reads."""

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.core.times import normal, parse, plus, seconds_between
from abstractruntime.errors import InvalidTime

NOON = "2026-01-02T12:00:00.000000+00:00"
quick = settings(derandomize=True, deadline=None, max_examples=60)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 30), timezones=offsets)


@pytest.mark.parametrize(
    "text",
    [
        NOON,
        "2026-01-02T12:00:00+00:00",
        "2026-01-02T12:00:00Z",
        "2026-01-02T14:30:00+02:30",
        "2026-01-02T07:00:00.000-05:00",
        "2026-01-02 12:00:00+00:00",
        "20260102T120000+0000",
        "2026-01-02T12:00:00,000000+00:00",
        "2026-W01-5T12:00:00+00:00",
    ],
)
def test_any_offset_and_spelling_comes_to_the_same_normal_form(text: str) -> None:
    assert normal(text) == NOON
    assert parse(text) == datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert parse(text).tzinfo is UTC


def test_a_time_in_normal_form_comes_back_as_it_is() -> None:
    assert normal(NOON) is NOON
    assert normal("2026-01-02T12:00:00.123456+00:00") == "2026-01-02T12:00:00.123456+00:00"


def test_a_normal_time_given_as_a_str_of_another_type_is_plain_text() -> None:
    class Text(str):
        pass

    assert normal(Text(NOON)) == NOON


def test_the_normal_form_of_a_str_enum_is_its_value() -> None:
    class When(str, Enum):
        NOON = "2026-01-02T12:00:00.000000+00:00"

    assert normal(When.NOON) == NOON


def test_a_week_date_is_no_normal_form() -> None:
    assert normal("2026-W01-5T12:00:00.000000+00:00") == NOON


def test_the_api_form_without_microseconds_gets_them() -> None:
    assert normal("2026-01-02T12:00:00+00:00") == NOON


@quick
@given(moments)
def test_the_normal_form_is_utc_with_microseconds(moment: datetime) -> None:
    text = normal(moment.isoformat())
    assert datetime.fromisoformat(text) == moment
    assert len(text) == 32
    assert text.endswith("+00:00")
    assert normal(text) == text


@quick
@given(moments, moments)
def test_normal_forms_sort_as_the_times_they_name(one: datetime, other: datetime) -> None:
    texts = normal(one.isoformat()), normal(other.isoformat())
    assert (texts[0] < texts[1]) is (one < other)
    assert (texts[0] == texts[1]) is (one == other)


# ---- refusals


def refusal(text: Any, **given: Any) -> InvalidTime:
    with pytest.raises(InvalidTime) as caught:
        normal(text, **given)
    with pytest.raises(InvalidTime) as again:
        parse(text, **given)
    assert again.value.to_dict() == caught.value.to_dict()
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("value", [None, 5, 1.5, datetime(2026, 1, 1, tzinfo=UTC), b"2026"])
def test_what_is_no_text_is_refused_by_its_type(value: Any) -> None:
    said = refusal(value)
    assert said.message == f"time must be an ISO-8601 text, found {type(value).__name__}"
    assert said.where == {}


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00+00:00", "12:00:00+00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    said = refusal(text)
    assert said.message == f"time is not an ISO-8601 time: {text!r}"
    assert said.where == {"found": text}


@pytest.mark.parametrize("text", ["2026-01-02T12:00:00", "2026-01-02", NOON.removesuffix("+00:00")])
def test_a_naive_time_is_refused(text: str) -> None:
    said = refusal(text)
    assert said.message == f"time has no offset: {text!r}"
    assert said.where == {"found": text}


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999-00:01"])
def test_a_time_that_utc_cannot_name_is_refused(text: str) -> None:
    said = refusal(text)
    assert said.message == f"time is out of range: {text!r}"
    assert said.where == {"found": text}


@pytest.mark.parametrize(
    "text",
    [
        "9999-99-99T99:99:99.999999+00:00",
        "2026-13-01T00:00:00.000000+00:00",
        "2026x01x01T00x00x00.000000+00:00",
        "²026-01-01T00:00:00.000000+00:00",
        "2026-02-30T00:00:00.000000+00:00",
    ],
)
def test_text_that_only_looks_normal_is_refused(text: str) -> None:
    assert len(text) == len(NOON)
    assert refusal(text).where == {"found": text}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "until must be an ISO-8601 text, found NoneType"),
        ("soon", "until is not an ISO-8601 time: 'soon'"),
        ("2026-01-01", "until has no offset: '2026-01-01'"),
        ("0001-01-01T00:00:00+01:00", "until is out of range: '0001-01-01T00:00:00+01:00'"),
    ],
)
def test_a_refusal_names_what_was_to_be_a_time(value: Any, message: str) -> None:
    assert refusal(value, what="until").message == message


# ---- sums and differences


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, NOON),
        (1.5, "2026-01-02T12:00:01.500000+00:00"),
        (0.000001, "2026-01-02T12:00:00.000001+00:00"),
        (-43200, "2026-01-02T00:00:00.000000+00:00"),
        (86400, "2026-01-03T12:00:00.000000+00:00"),
    ],
)
def test_seconds_are_added_in_normal_form(seconds: float, expected: str) -> None:
    assert plus(NOON, seconds) == expected
    assert plus("2026-01-02T13:00:00+01:00", seconds) == expected


def test_the_difference_is_in_seconds_and_negative_backwards() -> None:
    later = "2026-01-02T13:00:01.500000+01:00"
    assert seconds_between(NOON, later) == 1.5
    assert seconds_between(later, NOON) == -1.5
    assert seconds_between(NOON, NOON) == 0


@quick
@given(moments, st.integers(-(10**6), 10**6))
def test_the_difference_to_a_sum_is_what_was_added(moment: datetime, seconds: int) -> None:
    text = moment.isoformat()
    assert seconds_between(text, plus(text, seconds)) == seconds


@pytest.mark.parametrize("seconds", [1e12, -1e12, float("inf"), float("nan")])
def test_a_sum_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidTime) as caught:
        plus(NOON, seconds)
    assert caught.value.message == f"{seconds} seconds after {NOON} is out of range"
    assert caught.value.__suppress_context__


def test_times_to_add_to_or_compare_are_checked() -> None:
    for call in (lambda: plus("soon", 1), lambda: seconds_between("soon", NOON)):
        with pytest.raises(InvalidTime):
            call()
    with pytest.raises(InvalidTime):
        seconds_between(NOON, "soon")
