"""Writes attention of many sentences as one HTML page that needs no other file and no network."""

import base64
import hashlib
import html
import json
from pathlib import Path

from attention_weights import Attention, printable

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
    # Within a script element, `</script` would end it and `<!--` would begin a comment. Half of a character, which
    # UTF-8 has not, becomes an escape of JSON.
    data = data.replace("<", "\\u003c").encode("utf-8", errors="backslashreplace").decode("utf-8")
    template = TEMPLATE.read_text(encoding="utf-8")
    script = template.rpartition("<script>")[2].partition("</script>")[0]
    # The browser runs this script and no other, whatever the page holds.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values = {"title": html.escape(printable(title)), "data": data, "script": f"sha256-{digest}"}
    pieces = template.split("{{")
    return pieces[0] + "".join(values[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))
