"""Finds fonts, among those of this machine, that have the glyphs of a text; needs matplotlib."""

import dataclasses
import logging
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of every family without a normal weight
BUNDLED = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and more."""
INSTALL = (
    "install one (Debian, Ubuntu: apt install fonts-noto-cjk; Fedora: dnf install google-noto-sans-cjk-fonts; macOS "
    "and Windows have some), or give one that has them: --font FILE"
)
# By the first of these that a text holds, the face of a Chinese-Japanese-Korean font: they draw Han each their own way.
FACES = {"[\u3040-\u30ff\u31f0-\u31ff]": "JP", "[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]": "KR", "": "SC"}
# What people read with ease on a screen, before what has the glyphs too.
LIKED = (
    "noto sans",
    "source han sans",
    "pingfang",
    "hiragino",
    "yahei",
    "yu gothic",
    "malgun",
    "gothic",
    "sans",
    "hei",
)
# Fonts that have a glyph for everything and show nothing by it.
PRETENDERS = re.compile("last ?resort|adobe (blank|notdef)|unifont upper", re.IGNORECASE)
ERRORS = (OSError, RuntimeError, ValueError, KeyError)
"""What matplotlib raises for files that are no fonts it can draw."""


def find_fonts(texts: Iterable[str], file: Path | None = None) -> list[str]:
    """Names of families that have the characters of `texts` between them, the first for what several have.

    Args:
        file: a font to use before all others.

    Raises:
        ValueError: `file` is no font, or no font has a letter or a digit of the texts. Of other characters that none
            has, such as emoji, it tells in a warning: they are drawn as boxes.
    """
    text = "".join(texts)
    # Marks and controls are no glyphs of their own: what shows them is up to the letter before.
    wanted = {character for character in text if unicodedata.category(character)[0] not in "ZCM"}
    families = [name_of_file(file, text)] if file else []
    families.append(BUNDLED)
    for family in families:
        wanted -= covered(family, wanted)
    if wanted:
        add_new_fonts()
        names = {entry.name for entry in font_manager.fontManager.ttflist if not PRETENDERS.search(entry.name)}
        glyphs = {name: found for name in names if (found := covered(name, wanted))}
        while wanted and glyphs:
            best = min(glyphs, key=lambda name: (-len(glyphs[name] & wanted), dislike(name, text), name))
            if not glyphs[best] & wanted:
                break
            wanted -= glyphs.pop(best)
            families.append(best)
    unreadable = sorted(character for character in wanted if unicodedata.category(character)[0] in "LN")
    if unreadable:
        shown = " ".join(unreadable[:10] + ["..."] * (len(unreadable) > 10))
        raise ValueError(f"no font here has the characters {shown}: {INSTALL}")
    if wanted:
        print(f"warning: no font here has {' '.join(sorted(wanted))}: drawn as boxes", file=sys.stderr)
    return families


def covered(family: str, characters: set[str]) -> set[str]:
    """Which of the characters the font has that matplotlib takes for this family."""
    try:
        path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        font = font_manager.get_font(path)
    except ERRORS:
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}


def add_new_fonts() -> None:
    """matplotlib keeps a list of fonts and does not see what was installed since."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except ERRORS:
                continue


def dislike(name: str, text: str) -> tuple[bool, int]:
    """Lower is better: the face for the text's language, then by `LIKED`."""
    face = next(face for pattern, face in FACES.items() if re.search(pattern, text))
    place = next((place for place, word in enumerate(LIKED) if word in name.lower()), len(LIKED))
    return not re.search(rf"\b{face}\b", name), place


def name_of_file(file: Path, text: str) -> str:
    """Makes the font of a file known to matplotlib by a name that no other has, and returns the name.

    Raises:
        ValueError: no such file, or no font.
    """
    if not file.is_file():
        raise ValueError(f"--font {file}: no such file")
    fonts = font_manager.fontManager.ttflist
    before = len(fonts)
    try:
        font_manager.fontManager.addfont(file)
    except ERRORS as error:
        raise ValueError(f"--font {file}: matplotlib cannot draw with it ({error})") from error
    if len(fonts) == before:
        raise ValueError(f"--font {file}: give a font with outlines: .ttf, .otf or .ttc")
    face = min(fonts[before:], key=lambda entry: dislike(entry.name, text))
    fonts.append(dataclasses.replace(face, name=f"{face.name} of {file.resolve()}"))
    return fonts[-1].name
