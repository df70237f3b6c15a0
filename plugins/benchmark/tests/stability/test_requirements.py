"""Requirements are read as written, refused with what is wrong, and judged by the rows."""

from __future__ import annotations

import math

import pytest

from firenet_benchmark.stability.criteria import Row
from firenet_benchmark.stability.methods import Method, zero_filling
from firenet_benchmark.stability.requirements import check, judged, parse, quantities
from firenet_benchmark.stability.run import Comparison, StabilityBenchmark
from firenet_mri.errors import UsageError

SETTINGS = StabilityBenchmark()


def of_user(name: str, *, users: bool = True) -> Method:
    return Method(name, "trained", lambda batch, kspace: kspace, "for tests", is_users=users)


def test_terms_are_read_as_written() -> None:
    found = parse("worst_1%>=28, lesion_05.0%>=.9,jacobian<=10 ,worst_.50%>2e1,psnr<40")
    assert [(one.name, one.sign, one.number) for one in found] == [
        ("worst_1%", ">=", 28.0),
        ("lesion_5%", ">=", 0.9),
        ("jacobian", "<=", 10.0),
        ("worst_0.5%", ">", 20.0),
        ("psnr", "<", 40.0),
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "'' cannot be read"),
        ("psnr", "'psnr' cannot be read"),
        ("psnr=>30", "cannot be read|not a number"),
        ("psnr==30", "cannot be read|not a number"),
        ("psnr>=30 jacobian<=2", "cannot be read|not a number"),
        ("psnr>=thirty", "'thirty' is not a number"),
        ("psnr>=nan", "'nan' is not a number"),
        ("psnr>=30,", "'' cannot be read"),
        ("psnr>=30,psnr>=31", "psnr is required twice"),
    ],
)
def test_what_is_no_requirement_is_refused(text, match) -> None:
    with pytest.raises(UsageError, match=match):
        parse(text)


def test_what_is_not_measured_or_not_asked_is_refused_before_the_work(data) -> None:
    known = quantities(SETTINGS, data)
    for name in ("worst_0.5%", "lesion_5%", "jacobian", "wrong_maps_5%", "acceleration_8x", "psnr"):
        assert name in known
    check(parse("worst_1%>=28,proven_bound<=10"), known, SETTINGS.questions)
    with pytest.raises(UsageError, match=r"worst_3% is not measured.*worst_1%, "):
        check(parse("worst_3%>=28"), known, SETTINGS.questions)
    with pytest.raises(UsageError, match="add --questions jacobian"):
        check(parse("jacobian<=2"), known, ("accuracy",))


def test_outcomes_are_those_of_the_rows(data) -> None:
    """Means of slices, but the largest of amplifications; what is missing or NaN is not met."""
    mine, other = of_user("mine"), of_user("other", users=False)
    rows = [Row("mine", "worst case", "1 %", str(i), "psnr_db", v) for i, v in enumerate((27, 30))]
    rows += [
        Row("mine", "jacobian", "at the data", str(i), "upper", v) for i, v in enumerate((3, 11.0))
    ]
    rows += [Row("mine", "jacobian", "at the data", "0", "lower", 20.0)]
    rows += [Row("mine", "details", "lesion 5 %", "0", "recovered", math.nan)]
    methods = (zero_filling(), mine, other)
    comparison = Comparison(methods, tuple(rows), {}, {}, SETTINGS, "")
    text = "worst_1%>=28.5,jacobian<=10,lesion_5%>=.9,lesion_10%>=.9,proven_bound<=10"
    outcomes = judged(parse(text), quantities(SETTINGS, data), comparison)
    assert [one.is_met for one in outcomes] == [True, False, False, False, False]
    assert [one.value for one in outcomes[:2]] == [28.5, 11.0]
    assert {one.method for one in outcomes} == {"mine"}
    assert str(outcomes[1]) == "mine: 11, required jacobian <= 10"
    assert "not measured" in str(outcomes[3])
    # Without a network of the user all are judged but zero filling.
    without = Comparison((zero_filling(), other), (), {}, {}, SETTINGS, "")
    assert [
        one.method for one in judged(parse("psnr>=1"), quantities(SETTINGS, data), without)
    ] == ["other"]
