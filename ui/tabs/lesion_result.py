"""What the Lesion tab shows: the verdict, the diagnoses, and the photo with where the network looked."""

from html import escape

from serve.schemas import LesionAnswer
from ui.html_parts import diagnosis_bars, disclaimer_note, group_tag, icon, percent
from ui.preview import Preview
from ui.tabs.diagnosis_texts import WHAT_IT_IS

_HEADLINE = {"benign": "Looks benign", "malignant": "Looks malignant"}
_ADVICE = {
    "benign": "The network sees a harmless spot. If it changes, itches or bleeds, show it to a doctor.",
    "malignant": "The network sees signs of skin cancer or its forerunners. Have a doctor look at it soon.",
}

_WHY_NO_NAME = (
    "A diagnosis is named only when it is of the verdict's group and probable enough. A sharper photo, "
    "closer and in daylight, often helps."
)
_HOW_TO_READ = (
    "Two questions are answered apart: how probable it is that the spot is malignant, and which diagnosis "
    "fits best. The verdict comes from the first; only diagnoses of its group can be named."
)


def lesion_card(answer: LesionAnswer) -> str:
    """The whole answer about one spot."""
    parts = f"{_verdict(answer)}{_diagnoses(answer)}"
    return f'<section class="answer" data-verdict="{answer.verdict}">{parts}</section>'


def photo_stage(preview: Preview | None, heatmap_png: str | None) -> str:
    """The photo as the network got it, with a heat map that a switch shows and hides.

    Args:
        heatmap_png: base64 of a transparent PNG that covers the central square of the upright photo.
    """
    if preview is None:
        return '<p class="stage-missing">This photo cannot be shown here, but it was read.</p>'
    width, height = preview.width_px, preview.height_px
    side = min(width, height)
    place = (
        f"left:{50 * (1 - side / width):.3f}%;top:{50 * (1 - side / height):.3f}%;"
        f"width:{100 * side / width:.3f}%;height:{100 * side / height:.3f}%"
    )
    frame = f'<span class="seen" style="{place}"></span>' if width != height else ""
    heat, switch = "", ""
    if heatmap_png:
        png = escape(heatmap_png)
        heat = f'<img class="heat" alt="" src="data:image/png;base64,{png}" style="{place}">'
        switch = (
            '<label class="switch"><input type="checkbox" checked><span class="knob"></span><span>'
            "<b>Where it looked</b> The denser the blue, the more that place speaks for the verdict."
            "</span></label>"
        )
    note = "<p>The network sees the square; the dimmed part is left out.</p>" if frame else ""
    return (
        f'<figure class="stage"><div class="photo" style="aspect-ratio:{width}/{height}">'
        f'<img alt="The photo that this answer is about" src="{preview.data_uri}">{frame}{heat}</div>'
        f"<figcaption>{switch}{note}</figcaption></figure>"
    )


def _verdict(answer: LesionAnswer) -> str:
    malignant = percent(answer.malignant_probability, limit=answer.threshold)
    return (
        f'<div class="card verdict {answer.verdict}"><div class="verdict-head">{icon(answer.verdict)}'
        f"<div><h3>{_HEADLINE[answer.verdict]}</h3>"
        f'<p class="probability"><b>{malignant}</b> probability that it is malignant</p></div></div>'
        f"{_gauge(answer.malignant_probability, answer.threshold)}"
        f'<p class="advice">{_ADVICE[answer.verdict]}</p>{disclaimer_note(answer.disclaimer)}</div>'
    )


def _gauge(probability: float, threshold: float) -> str:
    """Where the probability lies between 0 and 100%, and from where on the verdict is malignant."""
    limit = f'style="left:{100 * threshold:.1f}%"'
    from_here = f"malignant from {percent(threshold, limit=threshold)}"
    side = "before" if threshold > 0.55 else "after"
    return (
        f'<div class="gauge" aria-hidden="true"><span class="gauge-zone" {limit}></span>'
        f'<i style="left:{100 * probability:.1f}%"></i>'
        f'<span class="gauge-limit {side}" {limit}>{from_here}</span></div>'
    )


def _diagnoses(answer: LesionAnswer) -> str:
    named = answer.diagnosis
    if named is None:
        heading = "Not sure enough to name it"
        line = f"No {answer.verdict} diagnosis stands out clearly enough, so none is named."
    else:
        first = answer.diagnoses[:1] == [named]
        heading = f"Most likely{'' if first else f' {named.group} diagnosis'}: {escape(named.name)}"
        how_sure = f"{percent(named.probability)} probability of this diagnosis"
        line = f"{group_tag(named.group)} <span>{how_sure}</span>"
    return (
        f'<div class="card"><div class="named"><h3>{heading}</h3><p>{line}</p></div>'
        f"{_caution(answer)}{diagnosis_bars(answer.diagnoses)}{_more(answer)}</div>"
    )


def _caution(answer: LesionAnswer) -> str:
    """Say so where verdict and diagnoses, which two heads of the network find apart, point different ways."""
    against = sum(score.probability for score in answer.diagnoses if score.group != answer.verdict)
    if against <= 0.5:
        return ""
    other = "malignant" if answer.verdict == "benign" else "benign"
    return (
        f'<p class="caution">{icon("error")}<span>The two parts of the network disagree: its most probable '
        f"diagnoses are {other}. Take this answer with extra care.</span></p>"
    )


def _more(answer: LesionAnswer) -> str:
    rows = [("How to read the bars", _HOW_TO_READ), ("What answered", _model(answer))]
    if answer.diagnosis is None:
        rows.insert(0, ("Why no name", _WHY_NO_NAME))
    elif answer.diagnosis.name in WHAT_IT_IS:
        name = answer.diagnosis.name
        rows.insert(0, (f"What it is: {name}", WHAT_IT_IS[name]))
    body = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in rows)
    return f"<details><summary>More information</summary><dl>{body}</dl></details>"


def _model(answer: LesionAnswer) -> str:
    return f"{answer.model.name}, version {answer.model.version}"
