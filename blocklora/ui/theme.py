"""The look: one set of tokens for light and dark, written once and read by our own CSS and by Gradio's components.

Warm neutral surfaces, one accent (pine green), system fonts behind a local Inter. Every colour that carries text has a
contrast of at least 4.5 : 1 against the surfaces it is used on (tests/ui/test_theme.py computes them).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

STYLE = Path(__file__).resolve().parents[2] / "assets" / "style"

FONT = "'Inter Variable', system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, monospace"

# name: (light, dark)
TOKENS: dict[str, tuple[str, str]] = {
    "bg": ("#faf9f7", "#121413"),
    "surface": ("#ffffff", "#1a1c1b"),
    "sunken": ("#f3f2ee", "#232624"),
    "line": ("#e6e4df", "#2d302e"),
    "line-strong": ("#cfccc5", "#434744"),
    "ink": ("#1b1c1a", "#ecedea"),
    "ink-2": ("#54544e", "#b5b8b3"),
    "ink-3": ("#6c6b64", "#949892"),
    "accent": ("#0b6e5a", "#52cdb0"),
    "accent-strong": ("#085a4a", "#74dcc3"),
    "accent-soft": ("#e3f1ec", "#17332c"),
    "on-accent": ("#ffffff", "#06231c"),
    "danger": ("#a8321f", "#f28e7e"),
    "danger-soft": ("#fbeae6", "#3a201b"),
    "warn": ("#7d5200", "#e6b75c"),
    "warn-soft": ("#fbf1dc", "#342a15"),
    "shadow": ("rgba(30, 28, 22, .10)", "rgba(0, 0, 0, .5)"),
    "scrim": ("rgba(28, 27, 24, .38)", "rgba(0, 0, 0, .6)"),
}


def tokens_css() -> str:
    """The tokens as CSS custom properties `--s-*`, for the page and for its dark half."""
    light = "".join(f"--s-{name}:{pair[0]};" for name, pair in TOKENS.items())
    dark = "".join(f"--s-{name}:{pair[1]};" for name, pair in TOKENS.items())
    fonts = f"--s-font:{FONT};--s-mono:{MONO};"
    # Gradio marks the dark half by a class on <body>; before it has started, studio.js puts the same class on <html>.
    return f":root{{{fonts}{light}color-scheme:light}}:root.dark,.dark{{{dark}color-scheme:dark}}"


# Gradio resets every element inside its page with more weight than one class has. Rules nested below this selector outweigh
# that (an :is() weighs as much as its heaviest part) and match the same elements as before.
OUTWEIGH = ":is(html, #outweigh)"
KEYFRAMES = re.compile(r"@keyframes\s+[\w-]+\s*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")


def stylesheet() -> bytes:
    """Tokens and our own rules as one file: 1x-*.css as it is, all later files outweighing Gradio's reset."""
    parts = [tokens_css()]
    for path in sorted((STYLE / "css").glob("*.css")):
        rules = path.read_text(encoding="utf-8")
        if not path.name.startswith("1"):
            lifted = "\n".join(KEYFRAMES.findall(rules))  # animations cannot be nested
            rules = f"{lifted}\n{OUTWEIGH} {{\n{KEYFRAMES.sub('', rules)}}}"
        parts.append(rules)
    return "\n".join(parts).encode()


def _both(name: str, light: str, dark: str) -> dict[str, str]:
    return {name: light, f"{name}_dark": dark}


def gradio_theme() -> Any:
    """Gradio's own components in the same clothes."""
    import gradio as gr

    def t(name: str) -> tuple[str, str]:
        return TOKENS[name]

    pine = gr.themes.Color(
        name="pine",
        c50="#eef7f4",
        c100="#e3f1ec",
        c200="#c3e2d8",
        c300="#93cab9",
        c400="#52b298",
        c500="#0b6e5a",
        c600="#096451",
        c700="#085a4a",
        c800="#0a4a3d",
        c900="#0b3b31",
        c950="#06231c",
    )
    stone = gr.themes.Color(
        name="stone",
        c50="#faf9f7",
        c100="#f3f2ee",
        c200="#e6e4df",
        c300="#cfccc5",
        c400="#a3a19a",
        c500="#7b7a73",
        c600="#54544e",
        c700="#2d302e",
        c800="#232624",
        c900="#1a1c1b",
        c950="#121413",
    )
    theme = gr.themes.Base(
        primary_hue=pine,
        secondary_hue=pine,
        neutral_hue=stone,
        text_size=gr.themes.sizes.text_sm,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_md,
        font=[gr.themes.Font("Inter Variable"), gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
        font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("Menlo"), gr.themes.Font("Consolas"), gr.themes.Font("monospace")],
    )
    values: dict[str, str] = {}
    for name, token in {
        "body_background_fill": "bg",
        "body_text_color": "ink",
        "body_text_color_subdued": "ink-3",
        "background_fill_primary": "surface",
        "background_fill_secondary": "sunken",
        "border_color_primary": "line",
        "border_color_accent": "accent",
        "block_background_fill": "surface",
        "block_border_color": "line",
        "block_label_background_fill": "surface",
        "block_label_text_color": "ink-3",
        "block_label_border_color": "line",
        "block_title_text_color": "ink",
        "block_info_text_color": "ink-3",
        "input_background_fill": "surface",
        "input_border_color": "line-strong",
        "input_border_color_focus": "accent",
        "input_placeholder_color": "ink-3",
        "link_text_color": "accent",
        "link_text_color_hover": "accent-strong",
        "link_text_color_visited": "accent",
        "link_text_color_active": "accent-strong",
        "button_primary_background_fill": "accent",
        "button_primary_background_fill_hover": "accent-strong",
        "button_primary_text_color": "on-accent",
        "button_secondary_background_fill": "surface",
        "button_secondary_background_fill_hover": "sunken",
        "button_secondary_text_color": "ink",
        "button_secondary_border_color": "line-strong",
        "button_cancel_background_fill": "danger-soft",
        "button_cancel_background_fill_hover": "danger-soft",
        "button_cancel_text_color": "danger",
        "checkbox_background_color_selected": "accent",
        "checkbox_border_color_selected": "accent",
        "checkbox_label_background_fill": "surface",
        "checkbox_label_background_fill_hover": "sunken",
        "checkbox_label_background_fill_selected": "accent-soft",
        "checkbox_label_border_color_selected": "accent",
        "checkbox_label_text_color_selected": "ink",
        "slider_color": "accent",
        "loader_color": "accent",
        "color_accent_soft": "accent-soft",
        "error_background_fill": "danger-soft",
        "error_border_color": "danger",
        "error_text_color": "danger",
        "error_icon_color": "danger",
        "stat_background_fill": "accent",
        "table_border_color": "line",
        "table_even_background_fill": "surface",
        "table_odd_background_fill": "surface",
        "panel_background_fill": "surface",
        "panel_border_color": "line",
        "accordion_text_color": "ink",
    }.items():
        values |= _both(name, *t(token))
    return theme.set(
        **values,
        color_accent="var(--s-accent)",
        block_shadow="none",
        block_shadow_dark="none",
        block_border_width="1px",
        block_border_width_dark="1px",
        block_radius="12px",
        block_label_text_size="12px",
        block_label_border_width="0px",
        block_label_border_width_dark="0px",
        block_title_text_weight="550",
        block_title_text_size="13px",
        container_radius="12px",
        input_radius="8px",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_shadow="none",
        input_shadow_dark="none",
        input_shadow_focus="none",
        input_shadow_focus_dark="none",
        button_large_radius="8px",
        button_medium_radius="8px",
        button_small_radius="7px",
        button_large_text_weight="550",
        button_medium_text_weight="550",
        button_large_text_size="14px",
        button_medium_text_size="13px",
        button_large_padding="10px 18px",
        button_medium_padding="7px 14px",
        button_border_width="1px",
        button_border_width_dark="1px",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_primary_shadow="none",
        button_primary_shadow_dark="none",
        button_secondary_shadow="none",
        button_secondary_shadow_dark="none",
        button_transform_hover="none",
        button_transition="background-color .12s ease, border-color .12s ease",
        layout_gap="16px",
        form_gap_width="0px",
    )
