from tests.scripts.loading import load_script

read_hypotheses = load_script("en_zh/score.py").read_hypotheses


def test_the_best_hypothesis_of_each_sentence_in_their_order():
    lines = ["S-2\tc\n", "H-2\t-0.1\t三\n", "H-2\t-0.9\t参\n", "D-2\t-0.1\t没\n", "H-0\t-0.2\t一\n", "Generate test\n"]
    assert read_hypotheses(lines, 4) == (["一", "", "三", ""], 2)
