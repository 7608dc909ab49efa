"""Drop rows without a known diagnosis, and rows that contradict themselves or others."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from train.data.ingest.entries import Entry
from train.data.ingest.report import RowReport
from train.data.ingest.vocabulary import (
    INDETERMINATE,
    MALIGNANT_NAME_OF,
    Policy,
    diagnosis_of,
    first_diagnosis_text,
)


def drop_unusable(entries: Iterable[Entry], report: RowReport) -> list[Entry]:
    """Drop entries in which the reader of the format found a problem."""
    kept = []
    for entry in entries:
        if entry.problem:
            report.drop(entry.number, entry.problem)
        else:
            kept.append(entry)
    return kept


def set_labels(entries: Iterable[Entry], policy: Policy, report: RowReport) -> list[Entry]:
    """Set the diagnosis of every entry; drop entries without one."""
    kept = []
    for entry in entries:
        label, reason = _label(entry, policy, report)
        if reason:
            report.drop(entry.number, reason)
        else:
            kept.append(replace(entry, label=label))
    return kept


def _label(entry: Entry, policy: Policy, report: RowReport) -> tuple[str, str]:
    """Return a label, or the reason that there is none."""
    found = diagnosis_of(entry.diagnoses)
    if found is None:
        unknown = first_diagnosis_text(entry.diagnoses)
        known = f", only {entry.claim!r}" if entry.claim else ""
        return "", f"diagnosis {unknown!r} is not in the taxonomy" if unknown else f"no diagnosis{known}"
    name = found.name
    if name not in INDETERMINATE and entry.claim != "indeterminate":
        if entry.claim and entry.claim != found.group:
            return "", f"{name} is {found.group}, but the row says {entry.claim}"
        return name, ""
    if policy == "exclude":
        return "", f"{name} is indeterminate, left out by --indeterminate exclude"
    if policy == "malignant" and found.group == "benign":
        name = MALIGNANT_NAME_OF.get(name, "")
        if not name:
            return (
                "",
                f"{found.name} is called indeterminate, and no malignant diagnosis of the taxonomy fits",
            )
        report.change(entry.number, f"{found.name} is called {name} by --indeterminate malignant")
    return name, ""


def drop_lesions_of_two_patients(entries: Sequence[Entry], report: RowReport) -> list[Entry]:
    """Drop all rows of a lesion with two patients."""
    return _drop_contradictions(
        entries,
        key_of=lambda entry: entry.lesion,
        value_of=lambda entry: entry.patient,
        reason="one lesion of two patients",
        report=report,
    )


def drop_lesions_of_two_diagnoses(entries: Sequence[Entry], report: RowReport) -> list[Entry]:
    """Drop all rows of a lesion with two diagnoses."""
    return _drop_contradictions(
        entries,
        key_of=lambda entry: entry.lesion,
        value_of=lambda entry: entry.label,
        reason="one lesion with two diagnoses",
        report=report,
    )


def _drop_contradictions(
    entries: Sequence[Entry],
    *,
    key_of: Callable[[Entry], str],
    value_of: Callable[[Entry], str],
    reason: str,
    report: RowReport,
) -> list[Entry]:
    """Drop the entries of every key with two values; empty ones are ignored."""
    values: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if value_of(entry):
            values[key_of(entry)].add(value_of(entry))
    kept = []
    for entry in entries:
        if key_of(entry) and len(values[key_of(entry)]) > 1:
            report.drop(entry.number, reason)
        else:
            kept.append(entry)
    return kept
