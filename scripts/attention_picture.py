"""Draws attention as a heat map: source words across the top, target words down the side; needs matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from attention_fonts import find_fonts
from attention_weights import Attention, printable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

INK = "#222222"
LINE = "#e4e7eb"
COLOURS = LinearSegmentedColormap.from_list("weights", ["#ffffff", "#c9dff2", "#6aaed6", "#2070b4", "#08306b"])
DOTS_PER_INCH = 160
LARGEST_PIXELS = 12000
"""Longer sentences than some 400 words get fewer dots per inch instead of more pixels."""
MANY_CELLS = 40_000
"""Above it, the cells of an SVG or PDF are one image: rectangles would take many MB."""


@contextmanager
def style(families: list[str]) -> Iterator[None]:
    """Settings of matplotlib. Glyphs go into the file: readers need not have the fonts."""
    settings = {
        "font.family": families,
        "svg.fonttype": "path",
        "svg.hashsalt": "attention",
        # Not 42, which declares fonts with PostScript outlines, as Noto's Chinese ones, to be TrueType.
        "pdf.fonttype": 3,
        "text.usetex": False,  # whatever a user's matplotlibrc says: words are no TeX
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context(settings):
        yield


def draw(attention: Attention, title: str = "") -> Figure:
    """A figure with one axes for the weights and one for the scale; its size grows with the sentence. Call it, and save
    the figure, within `style`."""
    rows, columns = attention.weights.shape
    # Cells of long sentences are smaller, and words of 7 points still have room.
    cell = 0.30 if max(rows, columns) <= 40 else 0.22 if max(rows, columns) <= 80 else 0.16
    points = {0.30: 10, 0.22: 8.5, 0.16: 7}[cell]
    width, height = columns * cell, rows * cell
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), label="weights")
    mesh = axes.pcolormesh(
        attention.weights, cmap=COLOURS, vmin=0, vmax=1, edgecolors=LINE, linewidth=0.4,
        rasterized=attention.weights.size > MANY_CELLS,
    )  # fmt: skip
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    source, target = (list(map(printable, side)) for side in (attention.source, attention.target))
    axes.set_xticks([place + 0.5 for place in range(columns)], source, fontsize=points)
    axes.set_yticks([place + 0.5 for place in range(rows)], target, fontsize=points)
    axes.tick_params(length=0, pad=4, top=True, labeltop=True, bottom=False, labelbottom=False)
    for label in axes.get_xticklabels() + axes.get_yticklabels():
        label.set_parse_math(False)  # $ is a word like others
    turn_labels(axes, cell)
    for spine in axes.spines.values():
        spine.set(edgecolor="#b6bcc4", linewidth=0.8)
    if title:
        axes.set_title(printable(title), fontsize=points + 2, pad=10, loc="left").set_parse_math(False)
    bar_height = min(height, 1.5)
    place = (1 + 0.18 / width, 1 - bar_height / height, 0.11 / width, bar_height / height)
    bar = figure.colorbar(mesh, cax=figure.add_axes(place, label="scale"), ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0", "0.5", "1"])
    bar.ax.tick_params(length=2, labelsize=7)
    bar.outline.set(edgecolor="#b6bcc4", linewidth=0.5)
    return figure


def turn_labels(axes, cell: float) -> None:
    """Source words stand level where all have room in a cell of so many inches, slanted otherwise."""
    labels = axes.get_xticklabels()
    renderer = axes.figure.canvas.get_renderer()
    inches = max(label.get_window_extent(renderer).width for label in labels) / axes.figure.dpi
    if inches > cell * 0.95:
        for label in labels:
            label.set(rotation=50, rotation_mode="anchor", horizontalalignment="left", verticalalignment="center")


def dots_per_inch(figure: Figure) -> float:
    return min(DOTS_PER_INCH, LARGEST_PIXELS / (max(figure.get_size_inches()) + 4))


def save_picture(path: Path, kind: str, attention: Attention, title: str, families: list[str]) -> None:
    """Writes one picture.

    Args:
        kind: `png`, `svg` or `pdf`, whatever the name of the file.
        families: of fonts, as `fonts_of` gives them.
    """
    with style(families):
        figure = draw(attention, title)
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        dots = dots_per_inch(figure)
        figure.savefig(path, format=kind, dpi=dots, bbox_inches="tight", pad_inches=0.15, metadata=undated)


def save_pages(path: Path, pictures: list[tuple[Attention, str]], families: list[str]) -> None:
    """Writes a PDF, a page for each (attention, title)."""
    with style(families), PdfPages(path, metadata={"CreationDate": None}) as pages:
        for attention, title in pictures:
            figure = draw(attention, title)
            pages.savefig(figure, dpi=dots_per_inch(figure), bbox_inches="tight", pad_inches=0.15)


def fonts_of(pictures: list[tuple[Attention, str]], file: Path | None = None) -> list[str]:
    """Families that have the characters of all (attention, title); see `find_fonts`."""
    texts = (word for attention, title in pictures for word in [title, *attention.source, *attention.target])
    return find_fonts(map(printable, texts), file)
