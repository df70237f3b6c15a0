"""Selects what is sent to a server: allow-lists name the fields that a reconstruction needs.

The names of institution, station, device and coils, serial numbers, the times of the readouts and
of the patient's heartbeat, and free parameters are not sent. Patient and study were already dropped
when the file was read.
"""

from __future__ import annotations

import dataclasses
from typing import Any

_OF_HEADER = ("version", "experimentalConditions")
_OF_SYSTEM = (
    "systemVendor",
    "systemFieldStrength_T",
    "relativeReceiverNoiseBandwidth",
    "receiverChannels",
)
_OF_ENCODING = (
    "encodedSpace",
    "reconSpace",
    "encodingLimits",
    "trajectory",
    "parallelImaging",
    "echoTrainLength",
)
_OF_SEQUENCE = ("TR", "TE", "TI", "flipAngle_deg", "echo_spacing")
# The copy already contains the samples, their number, the channels and the trajectory.
_OF_READOUT = (
    "version",
    "flags",
    "scan_counter",
    "number_of_samples",
    "available_channels",
    "active_channels",
    "channel_mask",
    "discard_pre",
    "discard_post",
    "center_sample",
    "encoding_space_ref",
    "trajectory_dimensions",
    "sample_time_us",
    "position",
    "read_dir",
    "phase_dir",
    "slice_dir",
    "patient_table_position",
    "idx",
)


def allowed_header(header: Any) -> Any:
    """Return an ``ismrmrdHeader`` with those fields of another one that may be sent.

    Parameters
    ----------
    header
        An ``ismrmrd.xsd.ismrmrdHeader``; it is not changed.
    """
    kept = _only(header, _OF_HEADER)
    kept.acquisitionSystemInformation = _only(header.acquisitionSystemInformation, _OF_SYSTEM)
    kept.sequenceParameters = _only(header.sequenceParameters, _OF_SEQUENCE)
    kept.encoding = [_only(encoding, _OF_ENCODING) for encoding in header.encoding]
    return kept


def allowed_readout(readout: Any) -> Any:
    """Return an ``ismrmrd.Acquisition`` with the fields that may be sent, without any times."""
    import ismrmrd

    head, whole = ismrmrd.AcquisitionHeader(), readout.getHead()
    for name in _OF_READOUT:
        setattr(head, name, getattr(whole, name))
    return ismrmrd.Acquisition(head, readout.data, readout.traj)


def _only(whole: Any, names: tuple[str, ...]) -> Any:
    """Return a new object of the schema with the named fields of another one."""
    if whole is None:
        return None
    known = {field.name for field in dataclasses.fields(whole)}
    return type(whole)(**{name: getattr(whole, name) for name in names if name in known})
