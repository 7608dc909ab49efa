"""Recognise ids that Excel has changed while it opened or saved a CSV."""

import re

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_LONG_NUMBER = re.compile(r"\d(?:[.,]\d+)?e\+\d+", re.IGNORECASE)
_DATE = re.compile(rf"\d{{1,2}}-(?:{_MONTHS})(?:-\d{{2,4}})?|(?:{_MONTHS})-\d{{2,4}}", re.IGNORECASE)


def damage_of(text: str) -> str:
    """Describe Excel's change of an id such as ``1.23457E+12``; empty if it made none."""
    if _LONG_NUMBER.fullmatch(text):
        return "Excel has rounded a long number"
    if _DATE.fullmatch(text):
        return "Excel has turned an id such as 1-3 or MAR1 into a date"
    return ""
