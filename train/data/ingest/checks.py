"""What makes a row usable: a diagnosis of the taxonomy, and no contradiction with itself or other rows."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from train.data.ingest.entries import Entry
from train.data.ingest.report import Report
from train.data.ingest.vocabulary import INDETERMINATE, MALIGNANT_NAME_OF, Policy, diagnosis_of, most_telling


def without_problems(entries: Iterable[Entry], report: Report) -> list[Entry]:
    """Drop what the format itself found unusable."""
    kept = []
    for entry in entries:
        if entry.problem:
            report.drop(entry.number, entry.problem)
        else:
            kept.append(entry)
    return kept


def labelled(entries: Iterable[Entry], policy: Policy, report: Report) -> list[Entry]:
    """Give every entry the name of its diagnosis, or drop it."""
    kept = []
    for entry in entries:
        label, reason = _label(entry, policy, report)
        if reason:
            report.drop(entry.number, reason)
        else:
            kept.append(replace(entry, label=label))
    return kept


def _label(entry: Entry, policy: Policy, report: Report) -> tuple[str, str]:
    """Return a label, or why there is none."""
    found = diagnosis_of(entry.diagnoses)
    if found is None:
        said = most_telling(entry.diagnoses)
        known = f", only {entry.claim!r}" if entry.claim else ""
        return "", f"diagnosis {said!r} is not in the taxonomy" if said else f"no diagnosis{known}"
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


def without_patient_contradictions(entries: Sequence[Entry], report: Report) -> list[Entry]:
    """Drop all rows of a lesion that has two patients."""
    return _without(
        entries,
        key=lambda entry: entry.lesion,
        differs=lambda entry: entry.patient,
        reason="one lesion of two patients",
        report=report,
    )


def without_label_contradictions(entries: Sequence[Entry], report: Report) -> list[Entry]:
    """Drop all rows of a lesion with two diagnoses."""
    return _without(
        entries,
        key=lambda entry: entry.lesion,
        differs=lambda entry: entry.label,
        reason="one lesion with two diagnoses",
        report=report,
    )


def _without(
    entries: Sequence[Entry],
    *,
    key: Callable[[Entry], str],
    differs: Callable[[Entry], str],
    reason: str,
    report: Report,
) -> list[Entry]:
    """Drop the entries of every key that has two values of something; an empty key or value says nothing."""
    values: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if differs(entry):
            values[key(entry)].add(differs(entry))
    kept = []
    for entry in entries:
        if key(entry) and len(values[key(entry)]) > 1:
            report.drop(entry.number, reason)
        else:
            kept.append(entry)
    return kept
