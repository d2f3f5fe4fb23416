"""Writes attention of many sentences as one HTML page that needs no other file and no network."""

import html
import json
from pathlib import Path

from attention_weights import Attention

TEMPLATE = Path(__file__).with_name("attention_page.html")


def make_page(attentions: list[tuple[str, Attention]], title: str) -> str:
    """The page.

    Args:
        attentions: each with the heading that it gets.
        title: of the page.
    """
    sentences = [
        {
            "name": name,
            "source": attention.source,
            "target": attention.target,
            # In thousandths, row by row: half the size of decimals.
            "weights": (attention.weights * 1000).round().astype(int).ravel().tolist(),
        }
        for name, attention in attentions
    ]
    data = json.dumps(sentences, ensure_ascii=False, separators=(",", ":"))
    # Within a script element, `</script` would end it and `<!--` would begin a comment.
    values = {"title": html.escape(title), "data": data.replace("<", "\\u003c")}
    before, title_again, rest = TEMPLATE.read_text(encoding="utf-8").split("{{title}}")
    middle, end = rest.split("{{data}}")
    return f"{before}{values['title']}{title_again}{values['title']}{middle}{values['data']}{end}"
