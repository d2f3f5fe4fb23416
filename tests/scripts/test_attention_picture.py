import re
import warnings
from xml.etree import ElementTree

import numpy
import pytest

from .loading import load_script

matplotlib = pytest.importorskip("matplotlib")
from matplotlib import font_manager, image  # noqa: E402

load_script("generate_output.py")
load_script("pieces.py")
Attention = load_script("attention_weights.py").Attention
fonts = load_script("attention_fonts.py")
picture = load_script("attention_picture.py")


def attention(target: str, source: str) -> Attention:
    words = [*target.split(), "</s>"], [*source.split(), "</s>"]
    weights = numpy.random.default_rng(1).dirichlet([0.3] * len(words[1]), size=len(words[0]))
    return Attention(0, 1, -1.0, words[1], words[0], weights)


def save(path, *args, title="") -> None:
    shown = attention(*args)
    picture.save_picture(path, path.suffix[1:], shown, title, picture.fonts_of([(shown, title)]))


def has_chinese() -> bool:
    try:
        return fonts.find_fonts(["中文"]) != []
    except ValueError:
        return False


needs_chinese = pytest.mark.skipif(not has_chinese(), reason="no font here has Chinese characters")


HOSTILE = [
    "</svg><script>1</script>",
    "<!--", "--", "-->", "]]>", "a\0b", "\x1b[31m", "a\nb\r", "\x7f\x9f", "\ud800", "\uffff",
    "\ufffe",
    "\U0010ffff", "\u2028", "\u202egnp.exe", "$\\frac{1}{0}$", "$", "\\input{/etc/passwd}", "%", "", "&amp;",
    "{{data}}",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_hostile_text_is_drawn_as_text(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)  # as a user's matplotlibrc may have it
    words = [*HOSTILE, "</s>"]
    shown = Attention(0, 1, -1.0, words, words, numpy.full((len(words),) * 2, 1 / len(words)))
    title, path = " ".join(HOSTILE), tmp_path / f"picture.{kind}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.save_picture(path, kind, shown, title, picture.fonts_of([(shown, title)]))
    assert path.stat().st_size > 1000 and "Traceback" not in capsys.readouterr().err
    if kind == "svg":
        tree = ElementTree.parse(path)  # text that is no XML would not be read
        names = {element.tag.rpartition("}")[2] for element in tree.iter() if isinstance(element.tag, str)}
        assert "g" in names and not names & {"script", "foreignObject", "a"}
    with picture.style(["DejaVu Sans"]):
        figure = picture.draw(shown, title)
    axes = next(axes for axes in figure.axes if axes.get_label() == "weights")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == HOSTILE[0] and labels[5] == "a\ufffdb" and labels[9:12] == ["\ufffd"] * 3
    assert not any(
        label.get_parse_math() or label.get_usetex() for label in [*axes.get_yticklabels(), axes._left_title]
    )


def test_cells_have_the_colours_of_their_weights(tmp_path):
    """The middle of each cell, in the file, from the top left: source across, target down."""
    shown = attention("a b c", "d e f g h")
    path = tmp_path / "picture.png"
    families = picture.fonts_of([(shown, "")])
    picture.save_picture(path, "png", shown, "", families)
    pixels = image.imread(path)[:, :, :3]
    with picture.style(families):
        figure = picture.draw(shown)
        # The file is cut to what is drawn, and a margin.
        box = figure.get_tightbbox(figure.canvas.get_renderer())
    axes = next(axes for axes in figure.axes if axes.get_label() == "weights")
    rows = [axes.transData.transform((0.5, row + 0.5))[1] for row in range(4)]
    assert rows == sorted(rows, reverse=True)
    for row in range(4):
        for column in range(6):
            inches = axes.transData.transform((column + 0.5, row + 0.5)) / figure.dpi
            x, y = (inches - box.min + 0.15) * picture.DOTS_PER_INCH
            expected = picture.COLOURS(shown.weights[row, column])[:3]
            numpy.testing.assert_allclose(pixels[len(pixels) - round(y), round(x)], expected, atol=0.02)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["d", "e", "f", "g", "h", "</s>"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "</s>"]
    assert [axes.get_label() for axes in figure.axes] == ["weights", "scale"]
    numpy.testing.assert_array_equal(picture.COLOURS(0.0)[:3], [1, 1, 1])


def test_pictures_grow_with_the_sentence_and_long_words_are_slanted(tmp_path):
    sizes = {}
    for name, args in {
        "short": ("a b", "a b"),
        "wide": ("a b", "a b c d e f g"),
        "high": ("a b c d e f", "a b"),
    }.items():
        save(tmp_path / f"{name}.png", *args)
        sizes[name] = image.imread(tmp_path / f"{name}.png").shape[:2]
    assert sizes["wide"][1] > sizes["short"][1] and sizes["high"][0] > sizes["short"][0]
    with picture.style([fonts.BUNDLED]):
        figures = [picture.draw(attention("a", source)) for source in ("a b", "internationalisation b")]
    # `</s>` is long, too.
    assert {label.get_rotation() for label in figures[1].axes[0].get_xticklabels()} == {50}


def test_a_very_long_sentence_stays_within_what_can_be_drawn(tmp_path):
    words = " ".join(["w"] * 700)
    save(tmp_path / "long.png", "a", words)
    assert max(image.imread(tmp_path / "long.png").shape) <= picture.LARGEST_PIXELS


def test_signs_of_formulas_are_words_like_others(tmp_path):
    save(tmp_path / "dollars.png", "$5 $x_1$ \\frac{", "$ $\\frac{$ ^ <b> &", title="$\\frac{$ & <i>")


def test_svg_has_outlines_instead_of_text_and_is_the_same_each_time(tmp_path):
    for name in ("one.svg", "two.svg"):
        save(tmp_path / name, "ein Hund", "a dog", title="Sentence 1")
    text = (tmp_path / "one.svg").read_text()
    assert "<svg" in text and "<text" not in text and "font-family" not in text
    assert len(re.findall(r'<g id="xtick_', text)) >= 3
    assert text == (tmp_path / "two.svg").read_text()


def test_pdf_has_a_page_each_and_holds_its_fonts(tmp_path):
    shown = [(attention("ein Hund", "a dog"), "one"), (attention("b", "c"), "two")]
    picture.save_pages(tmp_path / "pages.pdf", shown, picture.fonts_of(shown))
    data = (tmp_path / "pages.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", data)) == 2
    assert b"/Subtype /Type3" in data


# --- fonts ---


def test_what_the_bundled_font_has_needs_no_other():
    assert fonts.find_fonts(["ein Hündchen", "Ελλάς", "привет", "▁a", "</s>"]) == [fonts.BUNDLED]


@needs_chinese
@pytest.mark.parametrize("text, face", [("直接 骨头", "SC"), ("直す よ", "JP"), ("한국어 國", "KR")])
def test_a_font_with_the_glyphs_is_found(text, face, tmp_path):
    families = fonts.find_fonts([text, "dog"])
    assert families[0] == fonts.BUNDLED and len(families) == 2
    assert fonts.covered(families[1], set(text) - {" "}) == set(text) - {" "}
    faces = {entry.name for entry in font_manager.fontManager.ttflist if entry.name.startswith("Noto Sans CJK")}
    if f"Noto Sans CJK {face}" in faces:
        assert families[1] == f"Noto Sans CJK {face}"


@needs_chinese
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_chinese_words_are_drawn_and_no_boxes(ending, tmp_path, recwarn):
    """Other words give another picture; matplotlib warns of each glyph that it lacks."""
    save(tmp_path / f"one.{ending}", "我 爱 你", "I love you", title="句子")
    save(tmp_path / f"two.{ending}", "他 恨 她", "I love you", title="句子")
    one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert one != two
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


def test_where_no_font_has_them_the_characters_and_the_packages_are_named(monkeypatch):
    bundled = [entry for entry in font_manager.fontManager.ttflist if entry.name == fonts.BUNDLED]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", bundled)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    with pytest.raises(
        ValueError, match="no font here has the characters 你 犬: .*fonts-noto-cjk.*google-noto.*--font"
    ):
        fonts.find_fonts(["犬 dog", "你"])


def test_fonts_that_were_installed_since_are_seen(monkeypatch, tmp_path):
    """matplotlib's list of fonts is kept in a file, and may be older than the fonts."""
    source = next(entry.fname for entry in font_manager.fontManager.ttflist if entry.name == "STIXGeneral")
    (tmp_path / "new.ttf").write_bytes(open(source, "rb").read())
    bundled = [entry for entry in font_manager.fontManager.ttflist if entry.name == fonts.BUNDLED]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", bundled)
    (tmp_path / "broken.ttf").write_bytes(b"nothing")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [f"{tmp_path}/broken.ttf", f"{tmp_path}/new.ttf"])
    lacking = [chr(code) for code in range(0x2100, 0x2B00) if fonts.covered(fonts.BUNDLED, {chr(code)}) == set()]
    probe = font_manager.get_font(str(tmp_path / "new.ttf"))
    only_new = [character for character in lacking if probe.get_char_index(ord(character))]
    assert fonts.find_fonts(["a", only_new[0]]) == [fonts.BUNDLED, "STIXGeneral"]


def test_signs_that_no_font_has_are_boxes_with_a_warning(monkeypatch, capsys):
    monkeypatch.setattr(fonts, "covered", lambda family, characters: characters - {"🦉"})
    assert fonts.find_fonts(["owl 🦉"])[0] == fonts.BUNDLED
    assert capsys.readouterr().err == "warning: no font here has 🦉: drawn as boxes\n"


def test_a_font_file_comes_first_whatever_it_is_called(tmp_path):
    source = next(entry.fname for entry in font_manager.fontManager.ttflist if entry.name == "DejaVu Serif")
    file = tmp_path / "mine.ttf"
    file.write_bytes(open(source, "rb").read())
    families = fonts.find_fonts(["dog"], file)
    assert families == [f"DejaVu Serif of {file}", fonts.BUNDLED]
    assert str(font_manager.findfont(font_manager.FontProperties(family=families[:1]))) == str(file)


def test_a_file_that_is_no_font_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--font .*nowhere.ttf: no such file"):
        fonts.find_fonts(["a"], tmp_path / "nowhere.ttf")
    (tmp_path / "text.ttf").write_text("nothing")
    with pytest.raises(ValueError, match="--font .*text.ttf: matplotlib cannot draw with it"):
        fonts.find_fonts(["a"], tmp_path / "text.ttf")
