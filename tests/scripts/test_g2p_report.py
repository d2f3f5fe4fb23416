import pytest

from tests.scripts.loading import load_script

report = load_script("g2p/report.py")
LAST = "Generate valid with beam=5: sequence error rate 12.50 % (1/8), token error rate 5.00 % (2/40)\n"


def log(*seconds) -> str:
    """The records of finished epochs in a log of fairseq-train, among others."""
    return "".join(
        '2026-01-31 12:00:00 | INFO | train_inner | {"epoch": 1, "train_wall": "7777"}\n'
        f'2026-01-31 12:00:00 | INFO | train | {{"epoch": 1, "train_train_wall": "5", "train_wall": "{now}"}}\n'
        for now in seconds
    )


def test_minutes_of_one_run_and_of_an_interrupted_one():
    assert report.training_minutes(log(30, 60, 120).splitlines()) == pytest.approx(2)
    assert report.training_minutes(log(30, 60, 30, 60).splitlines()) == pytest.approx(2)
    assert report.training_minutes([]) == 0


def test_what_a_language_left_is_read(tmp_path):
    run = tmp_path / "fre" / "seed-3"
    run.mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train-fre-3.log").write_text(log(90))
    (run / "generate-valid.txt").write_text("H-0\t-0.1\ta b\n" + LAST)
    assert report.read_result(tmp_path, "fre", 3, "dev") == report.Result(8, 12.5, 5.0, 1.5)
    (run / "generate-valid.txt").write_text("H-0\t-0.1\ta b\n")
    with pytest.raises(ValueError, match="does not end with error rates"):
        report.read_result(tmp_path, "fre", 3, "dev")


def test_one_seed():
    results = {"fre": [report.Result(450, 6.0, 1.5, 1.25)], "vie": [report.Result(9, 4.0, 1.0, 2.25)]}
    assert report.table(results).splitlines() == [
        "language  words  WER %  PER %  minutes",
        "fre         450   6.00   1.50      1.2",
        "vie           9   4.00   1.00      2.2",
        "mean              5.00   1.25      1.8",
    ]


def test_several_seeds_have_a_deviation_and_the_mean_has_its_own():
    """The languages' deviations cancel in the mean of these two."""
    results = {
        "fre": [report.Result(450, 5.0, 1.0, 1.0), report.Result(450, 7.0, 2.0, 1.0)],
        "vie": [report.Result(450, 4.0, 1.0, 3.0), report.Result(450, 2.0, 1.0, 3.0)],
    }
    rows = [line.split("  ") for line in report.table(results).splitlines()]
    cells = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    assert cells["fre"] == ["450", "6.00 ± 1.41", "1.50 ± 0.71", "1.0"]
    assert cells["vie"] == ["450", "3.00 ± 1.41", "1.00 ± 0.00", "3.0"]
    assert cells["mean"] == ["4.50 ± 0.00", "1.25 ± 0.35", "2.0"]
