"""Compare networks by the logits of ``evaluate``: calibrate on the validation set, report on the test set.

Axes: N image, K output column (benign, malignant, diagnoses).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from train.gpu_recipe.measure import DIAGNOSES, MALIGNANT, SOURCE_DIAGNOSES

SENSITIVITY = 0.92
"""Of the two-way threshold, on all malignant validation photos."""
LOW_SENSITIVITY, HIGH_SPECIFICITY = 0.95, 0.88
"""Of the lower and the upper threshold of the three-way verdict, on the validation photos."""
NUM_BINS = 12
PAIRS = {
    "lesion_both_192": ("lesion_frame_192", "lesion_crop_192"),
    "small_both_192": ("small_frame_192", "small_crop_192"),
}
"""Views whose logits are the mean of two other views."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Logits of one part of the split."""

    source_N: np.ndarray
    label_N: np.ndarray
    change_N: np.ndarray
    name_N: np.ndarray
    logits: dict[str, np.ndarray]

    @property
    def is_malignant(self) -> np.ndarray:
        """Whether each image shows a malignant lesion."""
        return np.isin(self.label_N, sorted(MALIGNANT))

    @property
    def is_untouched(self) -> np.ndarray:
        """Whether each image is unchanged."""
        return self.change_N == ""


def read_part(path: Path) -> Part:
    """Read a file of ``evaluate``; add columns for diagnoses that the reference lacks."""
    found = np.load(path)
    logits = {}
    for name in found.files:
        if name.endswith(("_frame", "_crop", "_160", "_192")):
            values = found[name]
            missing = 2 + len(DIAGNOSES) - values.shape[1]
            logits[name] = np.pad(values, ((0, 0), (0, missing)), constant_values=-30)
    for name, (one, other) in PAIRS.items():
        logits[name] = (logits[one] + logits[other]) / 2
    return Part(
        source_N=found["source"],
        label_N=found["label"],
        change_N=found["change"],
        name_N=found["name"],
        logits=logits,
    )


def calibration_error(probability_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Return the expected calibration error over bins of equal counts."""
    order = np.argsort(probability_N)
    error = 0.0
    for bin_N in np.array_split(order, NUM_BINS):
        if len(bin_N):
            error += len(bin_N) / len(order) * abs(probability_N[bin_N].mean() - truth_N[bin_N].mean())
    return error


def risk_table(name: str, val: Part, test: Part) -> list[str]:
    """Return one line of Markdown per source."""
    margin_val, margin = _margin(val, name), _margin(test, name)
    clean_val, clean = val.is_untouched, test.is_untouched
    platt = LogisticRegression(C=1e6).fit(margin_val[clean_val, None], val.is_malignant[clean_val])
    threshold = _threshold(margin_val[clean_val], val.is_malignant[clean_val], SENSITIVITY)
    lines = []
    for source in SOURCE_DIAGNOSES:
        own = clean & (test.source_N == source)
        truth = test.is_malignant[own]
        if truth.sum() < 5:
            continue
        probability = platt.predict_proba(margin[own, None])[:, 1]
        closed, opened, macro = _diagnosis(test.logits[name][own, 2:], test.label_N[own], source)
        flagged = margin[own] >= threshold
        auroc = roc_auc_score(truth, margin[own])
        low, high = _interval(truth, margin[own])
        figures = (
            auroc,
            closed,
            opened,
            macro,
            flagged[truth].mean(),
            (~flagged[~truth]).mean(),
            calibration_error(probability, truth),
        )
        cells = " | ".join(f"{figure:.3f}" for figure in figures[1:])
        lines.append(f"| {name} | {source} | {own.sum()} | {auroc:.3f} ({low:.2f} to {high:.2f}) | {cells} |")
    return lines


def degradation_table(names: list[str], val: Part, test: Part) -> list[str]:
    """Return for each change the share of detected malignant photos missed after it."""
    shares = {name: _silent(name, val, test) for name in names}
    lines = []
    for change in [*dict.fromkeys(test.change_N[~test.is_untouched].tolist()), "all"]:
        cells = " | ".join(" / ".join(f"{share:.2f}" for share in shares[name][change]) for name in names)
        lines.append(f"| {change} | {cells} |")
    return lines


def verdict_table(name: str, val: Part, test: Part) -> list[str]:
    """Return the shares of the three verdicts by source and risk group."""
    margin = _margin(test, name)
    low, high = _two_thresholds(name, val)
    lines = []
    for source in SOURCE_DIAGNOSES:
        own = test.is_untouched & (test.source_N == source)
        truth = test.is_malignant[own]
        if truth.sum() < 5:
            continue
        is_benign, is_malignant = margin[own] < low, margin[own] >= high
        lines.append(
            f"| {name} | {source} | {is_benign[truth].mean():.3f} | {is_malignant[~truth].mean():.3f} | "
            f"{(~is_benign & ~is_malignant).mean():.3f} |"
        )
    return lines


def _silent(name: str, val: Part, test: Part) -> dict[str, tuple[float, float, float]]:
    """Return for each change the missed shares by one and two thresholds, and the inconclusive share."""
    margin_val, margin = _margin(val, name), _margin(test, name)
    clean_val = val.is_untouched
    threshold = _threshold(margin_val[clean_val], val.is_malignant[clean_val], SENSITIVITY)
    low, high = _two_thresholds(name, val)
    untouched = test.is_untouched & test.is_malignant
    flagged = set(test.name_N[untouched & (margin >= threshold)].tolist())
    surely = set(test.name_N[untouched & (margin >= high)].tolist())
    was_flagged = np.array([photo in flagged for photo in test.name_N.tolist()])
    was_sure = np.array([photo in surely for photo in test.name_N.tolist()])
    shares = {}
    for change in [*dict.fromkeys(test.change_N[~test.is_untouched].tolist()), "all"]:
        own = ~test.is_untouched if change == "all" else test.change_N == change
        one, two = own & was_flagged, own & was_sure
        middle = (margin[two] >= low) & (margin[two] < high)
        shares[change] = (
            float((margin[one] < threshold).mean()),
            float((margin[two] < low).mean()),
            float(middle.mean()),
        )
    return shares


def _margin(part: Part, name: str) -> np.ndarray:
    return part.logits[name][:, 1] - part.logits[name][:, 0]


def _threshold(margin_N: np.ndarray, malignant_N: np.ndarray, sensitivity: float) -> float:
    """Return the largest threshold with at least this sensitivity."""
    own = np.sort(margin_N[malignant_N])
    return float(own[int(np.floor((1 - sensitivity) * len(own)))])


def _two_thresholds(name: str, val: Part) -> tuple[float, float]:
    margin = _margin(val, name)[val.is_untouched]
    truth = val.is_malignant[val.is_untouched]
    low = _threshold(margin, truth, LOW_SENSITIVITY)
    return low, max(low, float(np.quantile(margin[~truth], HIGH_SPECIFICITY)))


def _diagnosis(logits_NK: np.ndarray, label_N: np.ndarray, source: str) -> tuple[float, float, float]:
    """Return balanced accuracy among the source's own diagnoses, among all, and macro AUROC."""
    codes = SOURCE_DIAGNOSES[source]
    columns = [DIAGNOSES.index(code) for code in codes]
    known = np.isin(label_N, codes)
    logits, truth = logits_NK[known], np.array([DIAGNOSES.index(code) for code in label_N[known]])
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    probability = exponent / exponent.sum(1, keepdims=True)
    present = [column for column in columns if (truth == column).any()]
    guesses = np.array(columns)[logits[:, columns].argmax(1)], logits.argmax(1)
    closed, opened = (
        float(np.mean([(guess[truth == column] == column).mean() for column in present])) for guess in guesses
    )
    macro = [roc_auc_score(truth == column, probability[:, column]) for column in present]
    return closed, opened, float(np.mean(macro))


def _interval(truth_N: np.ndarray, margin_N: np.ndarray, repeats: int = 400) -> tuple[float, float]:
    draw = np.random.default_rng(0)
    values = []
    for _ in range(repeats):
        some = draw.integers(0, len(truth_N), len(truth_N))
        if 0 < truth_N[some].sum() < len(some):
            values.append(roc_auc_score(truth_N[some], margin_N[some]))
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _print_header(columns: tuple[str, ...]) -> None:
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe.compare", description=__doc__)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True, help="the validation file is allowed")
    arguments = parser.parse_args()
    val, test = read_part(arguments.val), read_part(arguments.test)
    columns = ("view", "source", "n", "malignancy AUROC", "bal. acc. own", "bal. acc. all", "macro AUROC")
    _print_header((*columns, "sens.", "spec.", "ECE"))
    for name in sorted(val.logits):
        print("\n".join(risk_table(name, val, test)))
    _print_header(("view", "source", "malignant called benign", "benign called malignant", "inconclusive"))
    for name in sorted(val.logits):
        print("\n".join(verdict_table(name, val, test)))
    if (~test.is_untouched).any():
        changed = ~test.is_untouched
        names = [name for name in sorted(val.logits) if not np.isnan(test.logits[name][changed]).any()]
        _print_header(("change", *names))
        print("\n".join(degradation_table(names, val, test)))


if __name__ == "__main__":
    main()
