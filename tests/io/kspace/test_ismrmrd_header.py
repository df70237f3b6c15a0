"""Headers with small faults are read; what was mended is said by the element's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import ismrmrd
import numpy as np
import pytest
from mrd_scans import make_header, make_readouts

from firenet_mri.errors import FileError
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.ismrmrd_header import parse_header

NX, NY = 16, 12
PATH = "/home/someone/data/scan.h5"


def xml_of(**options: Any) -> str:
    header = make_header((NX, NY, 1), **options)
    header.sequenceParameters = ismrmrd.xsd.sequenceParametersType(
        TR=[10.0], TE=[4.0], flipAngle_deg=[15.0]
    )
    return str(header.toXML())


def test_a_header_without_faults_is_read_in_silence(caplog) -> None:
    header = parse_header(xml_of(calibration_mode="separate").encode(), PATH)
    expected = ismrmrd.xsd.CreateFromDocument(xml_of(calibration_mode="separate"))
    assert header == expected
    assert caplog.text == ""


Change = Callable[[str], str]


def without(tag: str) -> Change:
    return lambda xml: re.sub(
        rf"<(\w+:)?{tag}\b[^>]*?(/>|>.*?</(\w+:)?{tag}>)", "", xml, flags=re.S
    )


def instead(old: str, new: str) -> Change:
    def change(xml: str) -> str:
        assert old in xml
        return xml.replace(old, new)

    return change


FAULTS: dict[str, tuple[Change, str]] = {
    "a fraction": (instead(f"x>{NX}</", f"x>{NX}.0</"), "x is read as 16"),
    "a unit": (instead("TR>10.0<", "TR>10 ms<"), "TR is read as 10"),
    "another unit": (instead("TR>10.0<", "TR>0.01 s<"), "TR is read as 10"),
    "capitals": (instead(">cartesian<", ">Cartesian<"), "trajectory is read as cartesian"),
    "blanks": (instead(">cartesian<", "> cartesian\n<"), ""),
    "no conditions": (without("experimentalConditions"), ""),
    "no centre of the lines": (
        lambda xml: re.sub(r"<center>6</center>", "", xml),
        "kspace_encoding_step_1.center is missing",
    ),
    "half of a reconSpace": (
        lambda xml: re.sub(r"(<reconSpace>.*?)<y>12</y>", r"\1", xml, flags=re.S),
        "reconSpace is missing",
    ),
    "no limits": (without("encodingLimits"), ""),
    "no reconSpace": (without("reconSpace"), "reconSpace is missing"),
    "no trajectory": (without("trajectory"), "trajectory is missing"),
    "a new element": (instead("<encoding>", "<novelty>Made-up</novelty><encoding>"), ""),
    "a new element inside": (
        instead("<trajectory>", "<novelty>Made-up</novelty><trajectory>"),
        "novelty is not in the standard",
    ),
    "a value that nobody can read": (
        instead("flipAngle_deg>15.0<", "flipAngle_deg>Made-up<"),
        "flipAngle_deg has a value",
    ),
    "an attribute": (instead("<encoding>", '<encoding made="up">'), ""),
    "no namespace": (lambda xml: re.sub(r' xmlns(:\w+)?="[^"]*"', "", xml), ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_nothing_but_what_is_said(fault, caplog, recwarn, noisy) -> None:
    change, words = FAULTS[fault]
    kspace = noisy(2, NY, NX).astype(np.complex64)
    changed = change(xml_of())
    header = parse_header(changed.encode(), PATH)
    scan = assemble(header, make_readouts(kspace))
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    assert scan.geometry.field_of_view_mm == (5.0, 3.0 * NY, 2.0 * NX)
    assert scan.parameters.repetition_time_ms == 10
    assert words in caplog.text
    assert bool(words) == bool(caplog.text)
    assert "someone" not in caplog.text
    assert "Made-up" not in caplog.text
    assert not recwarn.list


@pytest.mark.parametrize("thickness", ["0.005", "5.0"])
def test_a_field_of_view_in_metres_becomes_millimetres(thickness, caplog, noisy) -> None:
    xml = xml_of(encoded_fov=(0.256, 0.192, 5.0), recon_fov_x=0.256)
    xml = xml.replace("z>5.0<", f"z>{thickness}<")
    scan = assemble(parse_header(xml.encode(), PATH), make_readouts(noisy(2, NY, NX)))
    np.testing.assert_allclose(scan.geometry.field_of_view_mm, (5, 192, 256))
    assert "encodedSpace.fieldOfView_mm is 0.256 x 0.192" in caplog.text
    assert "read as metres" in caplog.text


def test_a_trajectory_that_the_standard_does_not_know_is_not_taken_for_cartesian(caplog) -> None:
    header = parse_header(xml_of().replace(">cartesian<", ">rosette<").encode(), PATH)
    assert header.encoding[0].trajectory.value == "other"
    assert "trajectory is read as other" in caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("encodedSpace"), "no encodedSpace"),
        (instead(f"x>{NX}</", "x>many</"), r"no encodedSpace\.matrixSize\.x"),
        (instead(f"x>{NX}</", f"x>{NX}.5</"), r"no encodedSpace\.matrixSize\.x"),
        (without("encoding"), "no encoding"),
    ],
)
def test_what_cannot_do_without_is_named(change, words) -> None:
    with pytest.raises(FileError, match=words) as caught:
        parse_header(change(xml_of()).encode(), PATH)
    assert caught.value.__cause__ is None
