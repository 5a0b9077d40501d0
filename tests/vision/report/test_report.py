"""The page says what the numbers say, escapes what it is given, and is there however little is."""

import html
import json
import re
import sys
import types
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from tests.vision.prediction.made_up_run import CLASSES, Mistaken, loaded, write_run

from sightline.vision.report import page as report
from sightline.vision.report.page import (
    Report,
    chosen_classes,
    class_bars,
    confusion_rows,
    facts,
    said,
    thinned,
    write_report,
)


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A function that writes the report of a run that was judged."""

    def write(task="segment", examples=None, **options):
        monkeypatch.setattr(report, "load_run", lambda folder, trust: loaded(folder, task=task))
        folder = write_run(tmp_path / "my run", task=task, **options)
        return write_report(folder, examples=Mistaken(task) if examples is None else examples).read_text()

    return write


def words_of(page: str) -> str:
    text = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\u00a0", " ").split())


def test_the_page_answers_how_good_and_where_it_fails(judged):
    page = judged()
    words = words_of(page)
    matrix = report.judge(loaded("x"), Mistaken()).matrix
    iou = matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())
    assert f"{iou.mean():.3f} mean IoU over 3 classes, on 4 images" in words
    assert f"Best at {CLASSES[int(iou.argmax())]} ({iou.max():.2f} IoU)" in words
    assert "3 of 4 images have a mistake" in words
    names = re.findall(r'<h3><span class="number">([\d.]+)</span> ([^<]*)</h3>', page)
    assert [name for _, name in names] == ["photo-3.png", "photo-1.png", "photo-2.png"]
    assert [float(score) for score, _ in names] == sorted(float(score) for score, _ in names)
    assert page.count("<figcaption>truth") == page.count("<figcaption>errors") == 3
    assert "was called" in words
    assert words.index("Score") < words.index("Loss") < words.index("What was trained")
    assert "unfinished" not in words


def test_the_page_needs_no_other_file(judged):
    page = judged()
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/\S+", "", page)
    assert "<script" not in page


def test_classes_of_images_are_reported_as_well(judged):
    page = judged("classify", Mistaken("classify", (0, 1, 0, 1)))
    words = words_of(page)
    assert "0.500 accuracy on 4 images" in words
    assert "2 of 4 images are wrong" in words
    assert page.count("<article>") == 2
    assert "move this answer most" in words
    assert "mean IoU" not in words


def test_a_network_without_a_mistake_is_said_to_have_none(judged):
    words = words_of(judged(examples=Mistaken(wrong=(0, 0))))
    assert "1.000 mean IoU" in words
    assert "Not one of 2 images has a mistake." in words
    assert "Nothing is wrong." in words


def test_names_cannot_write_on_the_page(tmp_path, monkeypatch):
    bad = ("<script>alert(1)</script>", "b&amp;", '"><img src=x>')
    run = loaded(tmp_path)
    monkeypatch.setattr(report, "load_run", lambda folder, trust: type(run)(**{**vars(run), "classes": bad}))
    folder = write_run(tmp_path / "<b>run", classes=bad)
    examples = Mistaken(classes=bad)
    monkeypatch.setattr(Mistaken, "name", lambda self, index: f"<i>{index}")
    page = write_report(folder, examples=examples).read_text()
    for word in ("<script>alert", "<img src=x>", "<i>", "<b>"):
        assert word not in page
    assert html.escape(bad[0]) in page
    assert "b&amp;amp;" in page


@pytest.mark.parametrize("done", [0, 1, 15])
def test_an_unfinished_run_gives_a_page_of_what_is_there(tmp_path, done):
    words = words_of(write_report(write_run(tmp_path / "run", done=done)).read_text())
    if done:
        assert f"This run is unfinished: step {done} of 40 is done" in words
    else:
        assert "This run has not begun: there are no metrics yet." in words
    assert ("0.600 mean IoU after step 10" if done == 15 else "There is no score yet.") in words
    assert "has not been judged by examples" in words
    assert ("Loss" in words) == (done == 15)


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no run folder: it has no config\.json"):
        write_report(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "There is no score yet." in write_report(tmp_path).read_text()


def test_the_command_judges_by_the_runs_own_data_or_by_other(tmp_path, monkeypatch, capsys):
    asked = []

    def open_data(data, split, **options):
        asked.append((data, split, options["layout"], options["task"], options["classes"], options["ignore"]))
        return Mistaken()

    monkeypatch.setitem(sys.modules, "sightline.vision.training.build", types.SimpleNamespace(open_data=open_data))
    monkeypatch.setattr(report, "load_run", lambda folder, trust: loaded(folder))
    folder = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match="does not say what data it is of: name some"):
        report.run(Report(folder))
    config = json.loads((folder / "config.json").read_text())
    config["data"] = {"data": "images", "layout": "voc", "val": "minival"}
    (folder / "config.json").write_text(json.dumps(config))
    report.run(Report(folder))
    report.run(Report(folder, split="test"))
    report.run(Report(folder, data="others"))
    assert asked == [
        ("images", "minival", "voc", "segment", CLASSES, 255),
        ("images", "test", "voc", "segment", CLASSES, 255),
        ("others", "val", "auto", "segment", CLASSES, 255),
    ]
    assert capsys.readouterr().out == f"wrote {folder / 'report.html'}\n" * 3
    assert "3 of 4 images have a mistake" in words_of((folder / "report.html").read_text())


def test_bars_stand_worst_first_with_shares_and_absent_classes_last():
    matrix = torch.tensor([[90, 10, 0, 0], [30, 20, 0, 0], [0, 0, 0, 0], [0, 0, 0, 50]])
    svg = class_bars(matrix, ("a", "b", "c", "d"), "segment").replace("\u00a0", " ")
    texts = [one.text for one in ElementTree.fromstring(svg).iter() if one.tag == "text"]
    assert [text for text in texts if text in ("a", "b", "c", "d")] == ["b", "a", "d", "c"]
    assert {"0.33", "0.69", "1.00", "no score", "50 % of the pixels", "25 % of the pixels"} <= set(texts)


def test_the_matrix_is_divided_by_rows_and_shows_the_classes_with_mistakes():
    matrix = torch.tensor([[90, 10, 0], [30, 20, 0], [0, 0, 0]])
    rows = confusion_rows(matrix, ("a", "b", "c"), chosen_classes(matrix))
    assert [[cell["words"] for cell in row["cells"]] for row in rows] == [
        ["90", "10", ""],
        ["60", "40", ""],
        ["", "", ""],
    ]
    assert [[cell["right"] for cell in row["cells"]] for row in rows] == torch.eye(3).bool().tolist()
    assert rows[1]["cells"][0]["title"].replace("\u00a0", " ") == "b called a: 60 %"
    many = torch.diag(torch.full((50,), 9))
    many[40, 7] = many[3, 30] = 5
    assert {3, 7, 30, 40} <= set(chosen_classes(many))
    assert len(chosen_classes(many)) == 20


def test_what_no_thinking_would_score_is_right():
    matrix = torch.tensor([[60, 20, 0], [10, 10, 0], [0, 0, 0]])  # the third class is absent
    blind = torch.tensor([[80, 0], [20, 0]])
    expected = (blind.diagonal() / (blind.sum(0) + blind.sum(1) - blind.diagonal())).mean()
    assert facts(report.Judgement(matrix, 1, 1, (), 255), ("a", "b", "c"), "segment")[-1] == (
        f"Answering a everywhere would score {expected:.3f}."
    )
    assert "would score 0.800" in facts(report.Judgement(matrix, 1, 1, (), 255), ("a", "b", "c"), "classify")[-1]


def test_long_curves_are_averaged_and_keep_their_end():
    values = [float(i) for i in range(1000)]
    thin = thinned(values, 11)
    assert thin == [*[sum(values[i : i + 100]) / 100 for i in range(0, 1000, 100)], 999.0]
    assert thinned(values[:11], 11) == values[:11]


def test_settings_read_as_code():
    entry = {
        "object": "a.b:Net",
        "arguments": {"depth": 50, "head": {"object": "c:Head", "arguments": {}}, "norm": "batch"},
    }
    assert said(entry) == "Net(depth=50, head=Head(), norm=batch)"
    assert said([1, None, {"name": "x:y"}]) == "[1, null, y]"
    assert json.loads(said(0.5)) == 0.5
