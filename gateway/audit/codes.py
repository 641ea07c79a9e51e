"""The codes that audit messages use: of PS3.16 (DCM), and of RFC 3881 for what an object's identifier is.

A test compares those of DCM with the dictionary that pydicom has of them.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class Code(NamedTuple):
    """A coded value; `meaning` is written as displayName and as originalText."""

    value: str
    scheme: str
    meaning: str


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


# PS3.16 CID 400: what an event is
APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
AUDIT_LOG_USED = _dcm("110101", "Audit Log Used")
BEGIN_TRANSFERRING = _dcm("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
EXPORT = _dcm("110106", "Export")
QUERY = _dcm("110112", "Query")
SECURITY_ALERT = _dcm("110113", "Security Alert")
USER_AUTHENTICATION = _dcm("110114", "User Authentication")

KINDS = {
    APPLICATION_ACTIVITY: "application",
    AUDIT_LOG_USED: "trail-read",
    BEGIN_TRANSFERRING: "begin",
    INSTANCES_ACCESSED: "accessed",
    INSTANCES_TRANSFERRED: "transferred",
    EXPORT: "exported",
    QUERY: "query",
    SECURITY_ALERT: "alert",
    USER_AUTHENTICATION: "authentication",
}
"""What records call the events, and people ask for."""

# CID 401: more about it
APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
LOGIN = _dcm("110122", "Login")
LOGOUT = _dcm("110123", "Logout")
NODE_AUTHENTICATION = _dcm("110126", "Node Authentication")
SECURITY_CONFIGURATION = _dcm("110129", "Security Configuration")
SOFTWARE_CONFIGURATION = _dcm("110131", "Software Configuration")
USE_OF_RESTRICTED_FUNCTION = _dcm("110132", "Use of Restricted Function")
AUDIT_STOPPED = _dcm("110133", "Audit Recording Stopped")
USER_ATTRIBUTES_CHANGED = _dcm("110137", "User security Attributes Changed")

# CID 402: what part somebody has in it
APPLICATION = _dcm("110150", "Application")
APPLICATION_LAUNCHER = _dcm("110151", "Application Launcher")
DESTINATION_ROLE = _dcm("110152", "Destination Role ID")
SOURCE_ROLE = _dcm("110153", "Source Role ID")
DESTINATION_MEDIA = _dcm("110154", "Destination Media")

# CID 405: where data is exported to
MEDIA_URI = _dcm("110037", "URI")

# CID 404 and RFC 3881: what an object's identifier is
STUDY_INSTANCE_UID = _dcm("110180", "Study Instance UID")
NODE_ID = _dcm("110182", "Node ID")
PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")
SEARCH_CRITERIA = Code("10", "RFC-3881", "Search Criteria")
URI = Code("12", "RFC-3881", "URI")


class Action(Enum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Result(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12
