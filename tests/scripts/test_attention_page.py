"""The page in a real browser: what pointing at words, the keyboard, fingers and the filter do."""

import json
import re
import time

import numpy
import pytest

from .browser import NAMES, Browser, find_browser
from .loading import load_script

load_script("generate_output.py")
load_script("pieces.py")
Attention = load_script("attention_weights.py").Attention
make_page = load_script("attention_page.py").make_page

NASTY = "</script><script>document.title='caught'</script> <!-- & &amp; \" ' </s>".split(" ")
SENTENCES = [
    ("Sentence 4", ["the", "dog", "</s>"], ["der", "Hund", "</s>"], [[0.9, 0.06, 0.04], [0.1, 0.75, 0.15], [0, 0, 1]]),
    ("Sentence 7", NASTY, ["▁橙", "汁", "</s>"], numpy.full((3, len(NASTY)), 1 / len(NASTY))),
    ("Sentence 9", ["cat", "3", "</s>"], ["القطة", "جلست", "</s>"], [[0.5, 0.5, 0], [0.004, 0, 0.996], [0, 0, 1]]),
]
TITLE = '<b>Title</b> & "it\'s"'


def attentions():
    return [
        (name, Attention(0, 1, -1.0, source, target, numpy.array(weights)))
        for name, source, target, weights in SENTENCES
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} runs")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser, tmp_path):
    """The browser with the page of `SENTENCES` open; afterwards nothing was fetched and no script failed."""
    file = tmp_path / "page.html"
    file.write_text(make_page(attentions(), TITLE), encoding="utf-8")
    browser.requests.clear()
    browser.errors.clear()
    browser.call("Emulation.setEmulatedMedia", features=[])
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    browser.open(file, "'complete' in document.documentElement.dataset")
    yield browser
    assert browser.requests == [file.resolve().as_uri()]
    assert browser.errors == []


def word(sentence: int, side: str, place: int) -> str:
    """Selector of a word; all from 0."""
    return f"article:nth-child({sentence + 1}) [data-side={side}] .word:nth-child({place + 1})"


def weights_shown(page) -> dict:
    """What is written below words, by the word."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.word[data-weight]')].map((word) => "
        "[word.textContent, getComputedStyle(word, '::after').content.replaceAll('\"', '')]))"
    )


def said(page) -> str:
    text = page.evaluate("[...document.querySelectorAll('.said')].map((said) => said.textContent).join('')")
    return text.replace("\u2068", "").replace("\u2069", "")


def opacity(page, selector: str) -> float:
    colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor")
    found = re.fullmatch(r"rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)", colour)
    return float(found.group(4) or 1)


def test_pointing_at_a_target_word_shows_the_weights_of_source_words(page):
    assert weights_shown(page) == {}
    page.hover(word(0, "target", 1))
    assert weights_shown(page) == {"the": "0.10", "dog": "0.75", "</s>": "0.15"}
    assert said(page) == "Hund ← dog 0.75, </s> 0.15, the 0.10"
    assert [opacity(page, word(0, "source", place)) for place in range(3)] == pytest.approx([0.1, 0.75, 0.15], abs=0.01)
    assert opacity(page, word(0, "target", 1)) == 0


def test_pointing_at_a_source_word_shows_its_weights_for_target_words(page):
    page.hover(word(0, "source", 0))
    assert weights_shown(page) == {"der": "0.90", "Hund": "0.10"}
    assert said(page) == "the → der 0.90, Hund 0.10"


def test_pointing_elsewhere_ends_it_and_another_sentence_takes_over(page):
    page.hover(word(0, "target", 0))
    page.hover(word(2, "target", 0))
    assert weights_shown(page) == {"cat": "0.50", "3": "0.50"}
    page.hover("h1")
    assert weights_shown(page) == {} and said(page) == ""
    assert opacity(page, word(2, "source", 0)) == 0


def test_the_keyboard_reaches_every_word(page):
    page.click("#filter")
    page.press("Tab")
    assert said(page).startswith("the →")
    page.press("ArrowRight")
    assert said(page).startswith("dog →")
    page.press("ArrowDown")
    assert said(page).startswith("der ←")
    page.press("End")
    assert weights_shown(page) == {"</s>": "1.00"}
    page.press("ArrowLeft")
    assert said(page).startswith("Hund ←")
    page.press("ArrowUp")
    assert said(page).startswith("dog →")
    page.press("Escape")
    assert weights_shown(page) == {}


def test_what_was_clicked_stays_when_the_pointer_leaves(page):
    page.click(word(0, "target", 0))
    page.hover(word(0, "target", 1))
    assert said(page).startswith("Hund ←")
    page.hover("h1")
    assert said(page).startswith("der ←")


def test_a_finger_shows_weights_until_it_taps_elsewhere(page):
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    page.tap(word(0, "target", 1))
    assert weights_shown(page) == {"the": "0.10", "dog": "0.75", "</s>": "0.15"}
    page.tap("h1")
    assert weights_shown(page) == {}
    page.evaluate("document.querySelector('details').open = true")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    page.tap("tbody tr:nth-child(1) td:nth-child(2)")
    assert said(page) == "der ← the 0.90"
    page.tap("h1")
    assert said(page) == ""


def test_the_heat_map_is_made_when_opened(page):
    assert page.evaluate("document.querySelectorAll('table').length") == 0
    for _ in range(3):  # opened, closed and opened again
        page.click("article:nth-child(1) summary")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    rows = page.evaluate(
        "[...document.querySelectorAll('table tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert rows == [
        ["", "the", "dog", "</s>"], ["der", "90", "6", "4"], ["Hund", "10", "75", "15"], ["</s>", "", "", "100"],
    ]  # fmt: skip
    assert opacity(page, "tbody tr:nth-child(2) td:nth-child(3)") == pytest.approx(0.75, abs=0.01)
    page.hover("tbody tr:nth-child(2) td:nth-child(3)")
    assert said(page) == "Hund ← dog 0.75"
    assert page.evaluate("[...document.querySelectorAll('th.current')].map((cell) => cell.textContent)") == [
        "dog", "Hund",
    ]  # fmt: skip


def test_text_is_text(page):
    assert page.evaluate("document.title") == TITLE
    assert page.evaluate("document.querySelector('h1').textContent") == TITLE
    words = page.evaluate(
        f"[...document.querySelector('{word(1, 'source', 0)}').parentNode.children].map((word) => word.textContent)"
    )
    assert words == NASTY
    assert page.evaluate("document.scripts.length") == 2


# What could end an element or begin one, be code, turn text around, or be no text at all.
HOSTILE = [
    "</script><script>caught=1</script>", "<!--<script>", "-->", "]]>", "<img src=x onerror=caught=1>", "</title></h1>",
    "\"><svg onload=caught=1>", "' onmouseover='caught=1", "${caught=1}", "{{data}}", "{{title}}", "\\u003c/script>",
    "\\",
    "\\\"", "&lt;b&gt;&#60;", "javascript:caught=1", "a\u2028b\u2029c", "a\0b", "\x1b[31m", "\x7f\x9f", "\ud800",
    "\udfff\ud800",
    "\ufeff", "\uffff", "\u202egnp.exe", "\u2069\u2066\u202b", "\U000e0041", "__proto__", "constructor", "</s>",
]  # fmt: skip


def as_shown(text: str) -> str:
    """What a browser makes of text with halves of characters, which cannot be sent by the DevTools protocol."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def test_hostile_text_is_shown_and_does_nothing(browser, tmp_path):
    """In every place that text reaches: title, names, labels, both sides, the spoken line, the heat map."""
    weights = numpy.full((len(HOSTILE), len(HOSTILE)), 1 / len(HOSTILE))
    sentences = [(text, Attention(0, 1, -1.0, HOSTILE, HOSTILE[::-1], weights)) for text in HOSTILE]
    file, title = tmp_path / "hostile.html", " ".join(HOSTILE)
    file.write_text(make_page(sentences, title), encoding="utf-8")
    browser.requests.clear()
    browser.errors.clear()
    browser.open(file, "'complete' in document.documentElement.dataset")
    for side, words in (("source", HOSTILE), ("target", HOSTILE[::-1])):
        shown = browser.evaluate(
            f"[...document.querySelector('{word(0, side, 0)}').parentNode.children]"
            ".map((word) => word.textContent.toWellFormed())"
        )
        assert shown == list(map(as_shown, words))
        for place in range(len(words)):
            browser.evaluate(f"showWord(document.querySelector('{word(1, side, place)}'))")
            line = browser.evaluate("document.querySelector('article:nth-child(2) .said').textContent.toWellFormed()")
            assert line.count("\u2068") == line.count("\u2069") == 6 and not re.search(
                "[\u202a-\u202e\u2066\u2067]", line
            )
    names = browser.evaluate(
        "[...document.querySelectorAll('article')].map((one) => [one.getAttribute('aria-label').toWellFormed(),"
        "one.querySelector('h2').textContent.toWellFormed()])"
    )
    assert names == [[as_shown(text)] * 2 for text in HOSTILE]
    browser.evaluate("document.querySelector('details').open = true")
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    heads = browser.evaluate(
        "[...document.querySelectorAll('thead th')].map((cell) => cell.textContent.toWellFormed())"
    )
    assert heads == list(map(as_shown, HOSTILE))
    browser.evaluate("showCell(document.querySelector('tbody td'))")
    heading = browser.evaluate("document.querySelector('h1').textContent")
    assert heading == re.sub("[\0-\x1f\x7f-\x9f\ud800-\udfff\uffff]", "\ufffd", title)
    assert browser.evaluate("document.title").startswith("</script><script>caught=1</script> <!--<script> --> ]]> <img")
    assert (
        browser.evaluate("[typeof caught, document.scripts.length, document.images.length].join()") == "undefined,2,0"
    )
    assert browser.requests == [file.resolve().as_uri()] and browser.errors == []


def test_the_browser_runs_no_script_but_the_page_s_own(browser, tmp_path):
    """Even if something were to get through."""
    file = tmp_path / "page.html"
    broken = make_page(attentions(), "Title").replace("<h1>", "<h1 onclick='caught=1'><script>caught=1</script>")
    file.write_text(broken, encoding="utf-8")
    browser.open(file, "'complete' in document.documentElement.dataset")
    browser.click("h1")
    assert browser.evaluate("typeof caught") == "undefined" and len(browser.errors) == 2
    browser.errors.clear()


def test_the_filter_finds_words_across_pieces(page):
    def found(text):
        page.evaluate("document.getElementById('filter').value = ''")
        page.click("#filter")
        page.type(text)
        names = page.evaluate(
            "[...document.querySelectorAll('article')].filter((article) => article.offsetHeight > 0)"
            ".map((article) => article.querySelector('h2').textContent)"
        )
        return names, page.evaluate("document.getElementById('count').textContent")

    assert found("DER hun") == (["Sentence 4"], "1 of 3 sentences")
    assert found("橙汁") == (["Sentence 7"], "1 of 3 sentences")
    assert found("</script>") == (["Sentence 7"], "1 of 3 sentences")
    assert found("nowhere") == ([], "0 of 3 sentences")
    assert found(" ") == (["Sentence 4", "Sentence 7", "Sentence 9"], "3 sentences")


def test_arabic_runs_from_right_to_left_and_the_arrow_keys_with_it(page):
    boxes = [page.place(word(2, "target", place)) for place in range(3)]
    assert boxes[0]["x"] > boxes[1]["x"] > boxes[2]["x"]
    boxes = [page.place(word(2, "source", place)) for place in range(3)]
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]
    page.click(word(2, "target", 0))
    page.press("ArrowLeft")
    assert said(page) == "جلست ← </s> 1.00"  # the weights below 0.005 are left out


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_are_legible_on_their_weights_in_both_schemes(page, scheme):
    """Contrast of the text on the fullest colour, by WCAG's formula; 4.5 is what it asks for."""
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.click(word(0, "target", 2))
    assert page.evaluate(f"getComputedStyle(document.querySelector('{word(0, 'source', 2)}')).opacity") == "1"

    def luminance(name):
        script = f"getComputedStyle(document.querySelector('{word(0, 'source', 2)}')).{name}"
        parts = [int(part) / 255 for part in re.findall(r"\d+", page.evaluate(script))[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return numpy.dot(linear, [0.2126, 0.7152, 0.0722])

    text, ground = luminance("color"), luminance("backgroundColor")
    assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) > 4.5


def test_a_thousand_sentences_are_shown_at_once_and_stay_quick(browser, tmp_path):
    rng = numpy.random.default_rng(1)
    many = []
    for number in range(1000):
        words = [*(f"w{index}" for index in rng.integers(0, 5000, 20)), "</s>"]
        many.append((f"Sentence {number}", Attention(number, 1, -1.0, words, words, rng.dirichlet([1] * 21, 21))))
    file = tmp_path / "many.html"
    file.write_text(make_page(many, "Many"), encoding="utf-8")
    start = time.perf_counter()
    browser.open(file, "'complete' in document.documentElement.dataset")
    browser.hover(word(998, "target", 5))
    weights = json.loads(browser.evaluate("JSON.stringify(weightsOf(sentences[998], 'target', 5))"))
    numpy.testing.assert_allclose(numpy.array(weights) / 1000, many[998][1].weights[5], atol=0.0005)
    assert len(browser.evaluate("[...document.querySelectorAll('[data-weight]')].map((word) => word.textContent)")) > 10
    print(f"1,000 sentences of 20 words: {file.stat().st_size / 2**20:.1f} MiB, {time.perf_counter() - start:.2f} s")
