import gzip
import lzma
import sys

import pytest

from tests.scripts.loading import load_script

debian_tables = load_script("summarization/debian_tables.py")

STANZAS = """Package: zen
Description-md5: 1
Description-en: Zen  library
 Zen is a library.
 .
 It has
   * a list

Package: bare
Description-en: no more than this

Package: last
Description-en: last of all
 The end.
Other: field
 of the last one
"""


def test_stanzas_become_rows_of_one_line():
    assert list(debian_tables.read_rows(STANZAS.splitlines(keepends=True))) == [
        ("zen", "Zen library", "Zen is a library. It has * a list"),
        ("last", "last of all", "The end."),
    ]


def describe(start, length):
    return " ".join([*start.split(), *["word"] * length][:length])


def test_what_is_kept():
    rows = [(f"foo-{number}", "a", describe("A B c d e f g h", 20)) for number in range(6)]
    rows += [("short", "s", describe("s", 19)), ("long", "l", describe("l", 201)), ("fit", "f", describe("f", 200))]
    kept = debian_tables.choose(reversed(rows))
    assert [row[0] for members in kept.values() for row in members] == ["fit", "foo-0", "foo-1", "foo-2", "foo-3"]


def test_a_family_stays_together():
    rows = [(f"{name}-{kind}", "s", describe(f"{name} is", 20)) for name in "abcdefghij" for kind in ("dev", "doc")]
    tables = debian_tables.split(debian_tables.choose(rows), held_out=3)
    assert {name: len(table) for name, table in tables.items()} == {"valid": 4, "test": 4, "train": 12}
    parts = [{row[0][0] for row in table} for table in tables.values()]
    assert sum(map(len, parts)) == 10
    assert tables == debian_tables.split(debian_tables.choose(reversed(rows)), held_out=3)


@pytest.mark.parametrize("suffix, pack", [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_the_command(tmp_path, monkeypatch, capsys, suffix, pack):
    text = "\n".join(f"Package: p{n}\nDescription-en: Café {n}\n {describe(f'{n} is', 25)}\n" for n in range(9))
    path = tmp_path / f"Translation-en{suffix}"
    path.write_bytes(pack(text.encode()))
    arguments = ["debian_tables.py", "--descriptions", str(path), "--output", str(tmp_path / "tables")]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(debian_tables, "HELD_OUT", 2)
    debian_tables.main()
    assert capsys.readouterr().out == "5 train, 2 valid, 2 test\n"
    rows = gzip.decompress((tmp_path / "tables" / "train.tsv.gz").read_bytes()).decode().splitlines()
    assert len(rows) == 5 and all(row.split("\t")[1].startswith("Café ") for row in rows)
    monkeypatch.setattr(debian_tables, "HELD_OUT", 1000)
    with pytest.raises(SystemExit, match="only 9 descriptions of a fit length there"):
        debian_tables.main()
    path.write_bytes(b"\xff" * 9)
    with pytest.raises(SystemExit, match="cannot be read"):
        debian_tables.main()
