"""How often a progress network reports a change that is none, from the metrics of ``GET /v1/models``."""

from serve.schemas import LoadedModel, ProgressMetrics
from ui.translation import N_, NN_, translations

_ALTERED = "altered"
"""Series of an unchanged face, half of the photos altered by ``train/progress/synthetic/alterations.py``."""
_FEWER = N_(
    "In tests with unchanged faces, whose photos a program altered in light, distance or sharpness, fewer "
    "than 1 of 100 series was called improved or worsened."
)
_SEVERAL = NN_(
    "In tests with unchanged faces, whose photos a program altered in light, distance or sharpness, %(n)s of "
    "100 series was called improved or worsened.",
    "In tests with unchanged faces, whose photos a program altered in light, distance or sharpness, %(n)s of "
    "100 series were called improved or worsened.",
)


def false_change_rate(model: LoadedModel, language: str) -> str | None:
    """Return a sentence: of 100 altered series of an unchanged face, how many were called changed.

    The thresholds were fitted without the people of each series. None if that was not measured.
    """
    if not isinstance(model.metrics, ProgressMetrics):
        return None
    verdicts = model.metrics.verdicts.get("cross_fitted")
    share = verdicts.called[_ALTERED].value if verdicts and _ALTERED in verdicts.called else None
    if share is None:
        return None
    t, count = translations(language), round(100 * share)
    return t.ngettext(*_SEVERAL, count) % {"n": count} if count else t.gettext(_FEWER)
