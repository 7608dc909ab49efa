"""The theme: colours, type and spacing of Gradio's components; ``page.css`` styles our own HTML."""

from gradio.themes import Base, sizes
from gradio.themes.utils.colors import Color

from ui.rendering import TEMPLATES

STYLE_SHEETS = [
    TEMPLATES / f"{name}.css" for name in ("page", "lesion", "progress", "after_answer", "history")
]

_TEAL = Color(
    name="teal",
    c50="#eef7f6",
    c100="#d9eeec",
    c200="#b3dcd9",
    c300="#84c4c0",
    c400="#4fa6a3",
    c500="#1f8583",
    c600="#0b6a6a",
    c700="#0a5657",
    c800="#0b4647",
    c900="#0c3a3b",
    c950="#062525",
)
_SLATE = Color(
    name="slate",
    c50="#f4f7f8",
    c100="#eaf0f1",
    c200="#d6dfe2",
    c300="#b6c4c9",
    c400="#8a9ca3",
    c500="#647780",
    c600="#4b5f69",
    c700="#2b3d43",
    c800="#1a292e",
    c900="#142024",
    c950="#0d1518",
)
# Fonts of the reader's machine: loading one from another host would disclose the reader's address to it.
_TEXT_FONTS = (
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Noto Sans",
    "Ubuntu",
    "Liberation Sans",
    "Arial",
    "sans-serif",
)
_CODE_FONTS = ("ui-monospace", "SF Mono", "Cascadia Mono", "Liberation Mono", "Consolas", "monospace")


_SURFACES_AND_BUTTONS = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "body_text_color": "#13232b",
    "body_text_color_dark": "#e6eff1",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "#a3b6bc",
    "background_fill_primary": "white",
    "background_fill_primary_dark": "*neutral_900",
    "background_fill_secondary": "*neutral_50",
    "background_fill_secondary_dark": "*neutral_800",
    "border_color_primary": "*neutral_200",
    "border_color_primary_dark": "*neutral_700",
    "block_background_fill": "white",
    "block_background_fill_dark": "*neutral_900",
    "block_border_color": "*neutral_200",
    "block_border_color_dark": "*neutral_700",
    "block_shadow": "none",
    "button_border_width": "1px",
    "button_primary_border_color": "*primary_600",
    "button_primary_border_color_dark": "*primary_600",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "button_primary_text_color": "white",
    "button_secondary_background_fill": "white",
    "button_secondary_background_fill_hover": "*primary_50",
    "button_secondary_background_fill_dark": "*neutral_900",
    "button_secondary_background_fill_hover_dark": "*neutral_800",
    "button_secondary_text_color": "#13232b",
    "button_secondary_text_color_dark": "#e6eff1",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "*neutral_700",
    "link_text_color": "*primary_600",
    "link_text_color_dark": "*primary_300",
}


def build_theme() -> Base:
    """Return the theme; light and dark follow the system."""
    theme = Base(
        primary_hue=_TEAL,
        secondary_hue=_TEAL,
        neutral_hue=_SLATE,
        font=_TEXT_FONTS,
        font_mono=_CODE_FONTS,
        radius_size=sizes.radius_lg,
    )
    return theme.set(**_SURFACES_AND_BUTTONS)
