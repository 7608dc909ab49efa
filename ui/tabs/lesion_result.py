"""The result of the Lesion tab: verdict, diagnoses, and the photo with where the network looked."""

from serve.lesion.schemas import LesionAnswer
from ui.preview import Preview
from ui.rendering import css_percent, render
from ui.tabs.diagnosis_texts import DIAGNOSIS_TEXTS

_WHY_NO_DIAGNOSIS = (
    "A diagnosis is named only if it belongs to the group of the verdict and is probable enough. A sharper "
    "photo, closer and in daylight, often helps."
)
_HOW_TO_READ = (
    "The network has two outputs: the probability that the lesion is malignant, and a probability for each "
    "diagnosis. The verdict comes from the first; only diagnoses of its group can be named."
)


def lesion_card(answer: LesionAnswer) -> str:
    """Render the verdict and the diagnoses of one lesion, or why there is none."""
    if not answer.usable:
        return render("lesion_inconclusive", answer=answer)
    against_verdict = sum(score.probability for score in answer.diagnoses if score.group != answer.verdict)
    return render(
        "lesion_result",
        answer=answer,
        is_most_probable=answer.diagnoses[:1] == [answer.diagnosis],
        heads_disagree=against_verdict > 0.5,
        details=_details(answer),
    )


def lesion_photo(photo: Preview | None, answer: LesionAnswer) -> str:
    """Render the photo with the input square of the network and the Grad-CAM switch."""
    if photo is None:
        return render("lesion_photo", photo=None, is_usable=answer.usable)
    side = min(photo.width_px, photo.height_px)
    width, height = side / photo.width_px, side / photo.height_px
    return render(
        "lesion_photo",
        photo=photo,
        grad_cam_png=answer.heatmap_png,
        is_cropped=answer.usable and photo.width_px != photo.height_px,
        central_square=f"left:{css_percent((1 - width) / 2)};top:{css_percent((1 - height) / 2)};"
        f"width:{css_percent(width)};height:{css_percent(height)}",
    )


def _details(answer: LesionAnswer) -> list[tuple[str, str]]:
    details = [
        ("How to read the bars", _HOW_TO_READ),
        ("Network", f"{answer.model.name}, version {answer.model.version}"),
    ]
    if answer.diagnosis is None:
        return [("Why no diagnosis is named", _WHY_NO_DIAGNOSIS), *details]
    name = answer.diagnosis.name
    return [(f"What it is: {name}", DIAGNOSIS_TEXTS[name]), *details] if name in DIAGNOSIS_TEXTS else details
