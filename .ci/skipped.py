"""Run the tests that a run of pytest skipped for a reason: ``skipped.py REPORT.xml REASON``, a report of the family xunit1."""

import sys
from xml.etree import ElementTree

import pytest


def skipped(report, reason):
    """The tests of a report that were skipped with a text that contains the reason, with all their parameters, which reports spoil."""
    for case in ElementTree.parse(report).iter("testcase"):
        if any(reason in element.get("message", "") for element in case.iter("skipped")):
            yield f"{case.get('file')}::{case.get('name').partition('[')[0]}"


if __name__ == "__main__":
    tests = list(dict.fromkeys(skipped(*sys.argv[1:])))
    if not tests:
        sys.exit("expected some skipped tests, got none")
    sys.exit(pytest.main(tests))
