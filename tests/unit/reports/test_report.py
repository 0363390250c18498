"""The report of each task: its numbers against evaluation.json, hostile texts, and the page in headless Chromium."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pair_runs
import pytest
import text_runs
from chromium import open_page
from series_runs import prepare_csv, train_config, write_series_csv

from trainer import evaluate, export, prepare
from trainer.cli import flags
from trainer.config import train as config
from trainer.config.storage import StorageFlags
from trainer.reports.page import cell, summary
from trainer.reports.parts import Headline
from trainer.tasks import registry
from trainer.tasks.configurations import EvaluateConfig, ExportConfig, PrepareConfig
from trainer.training import run_files

EVIL = "</td><script>alert(1)</script>"
NAME = "North <b> | load"  # of the series
BACKTEST = ["--backtest", "--windows=8", "--stride=3"]
KINDS = ("forecast", "backtest", "quantiles", "language_model", "seq2seq")
HEADLINES = {
    "forecast": "mse",
    "backtest": "mse",
    "quantiles": "weighted_quantile_loss",
    "language_model": "nats_per_char",
    "seq2seq": "bleu",
}
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Tables as rows of texts, all other text, addresses that elements name, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.texts, self.tags, self.addresses, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")
        ]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def series_data(directory):
    csv = write_series_csv(directory / "a.csv", 600, missing=0.02)
    csv.write_text(csv.read_text().replace("date,s0,s1", f"date,load & heat,{EVIL}", 1))
    return prepare_csv(csv, directory / "data", "--splits=400,100,100", f"--name={NAME}")


def text_data(directory):
    (directory / "a.txt").write_text(f"the cat sat on the mat {EVIL} and the dog ran\n" * 90)
    arguments = ["--task=language_model", "--source=text", f"--input={directory}/a.txt", "--splits=0.6,0.1,0.3"]
    prepare.prepare(flags.parse(PrepareConfig, [*arguments, f"--output_dir={directory}/data"]))
    return directory / "data"


def pair_data(directory):
    random = np.random.default_rng(0)
    sources = [" ".join(random.choice(["a", "dog", "runs", EVIL, "home"], random.integers(1, 9))) for _ in range(120)]
    for name, texts in (("in", sources), ("out", [source.upper() for source in sources])):
        (directory / name).write_text("\n".join(texts) + "\n")
    arguments = [
        "--task=seq2seq",
        "--source=pairs",
        f"--input={directory}/in,{directory}/out",
        "--tokenizer=char",
        "--splits=0.5,0.2,0.3",
    ]
    prepare.prepare(flags.parse(PrepareConfig, [*arguments, f"--output_dir={directory}/data"]))
    return directory / "data"


@pytest.fixture(scope="module")
def reports(tf, tmp_path_factory):
    """A short run and one evaluation of each kind: kind -> directory with data, model and report, and the result."""
    from trainer.tasks.datasets import read
    from trainer.training.preemption import Preemption
    from trainer.training.run import train
    from trainer.training.supervisor import Heartbeat

    made = {}
    for kind, data in (
        ("forecast", series_data),
        ("quantiles", series_data),
        ("language_model", text_data),
        ("seq2seq", pair_data),
    ):
        directory = tmp_path_factory.mktemp(kind)
        more = ["--output=quantiles"] if kind == "quantiles" else []
        quick = ["--train_steps=4", "--evaluate_every_steps=2", "--units=8"]
        configured = {"language_model": text_runs.config_for, "seq2seq": pair_runs.config_for}.get(kind, train_config)
        run = configured(data(directory), directory / "model", *quick, *more)
        with Preemption() as preemption:
            train(run, read(run.data_dir), None, preemption, Heartbeat())
        made[kind] = directory
    made["backtest"] = made["forecast"]
    found = {}
    for kind, directory in made.items():
        more = {"backtest": BACKTEST, "quantiles": BACKTEST, "seq2seq": ["--beam_size=2"]}.get(kind, [])
        more = [*more, "--conformal=recent"] if kind == "quantiles" else more
        given = [
            f"--model_dir={directory}/model",
            f"--data_dir={directory}/data",
            f"--report_dir={directory}/{kind}",
            *more,
        ]
        found[kind] = directory, evaluate.main(flags.parse(EvaluateConfig, given))
    return found


def page_of(reports, kind):
    directory, result = reports[kind]
    return directory / kind / "report.html", json.loads((directory / kind / "evaluation.json").read_text()), result


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_tells_the_numbers_of_evaluation_json(reports, kind):
    path, scores, result = page_of(reports, kind)
    assert result["scores"] == str(path.parent / "evaluation.json") and result["count"] == scores["count"]
    assert len(json.dumps(result)) < 2048
    assert result["metrics"] == {name: value for name, value in scores["metrics"].items() if isinstance(value, float)}
    for name, values in result["baselines"].items():
        assert values and all(scores["baselines"][name][metric] == value for metric, value in values.items())
    assert set(result["baselines"]) == set(scores["baselines"])
    page = Page(path.read_text())
    assert page.open == []
    first = page.tables[0]
    assert first[0] == ["", "model", *scores["baselines"]]
    numbers = [name for name, value in scores["metrics"].items() if isinstance(value, float)]
    assert [row[0] for row in first[1:]] == numbers and len(numbers) >= 5
    for row in first[1:]:
        expected = [scores["metrics"][row[0]], *(baseline.get(row[0]) for baseline in scores["baselines"].values())]
        for text, value in zip(row[1:], expected):
            assert (
                text == "–"
                if value is None
                else float(text.replace(",", "")) == pytest.approx(value, rel=1e-3, abs=1e-4)
            )
    told = " ".join(page.texts)
    assert f"{scores['count']:,}" in told and f"{scores['metrics'][HEADLINES[kind]]:.4g}" in told
    best = min(
        scores["baselines"],
        key=lambda name: scores["baselines"][name][HEADLINES[kind]] * (-1 if kind == "seq2seq" else 1),
    )
    assert f"The best baseline, {best}, has" in told
    assert "mean of 4 steps" not in told and "4 steps (every step)" in told  # learning curves


def test_the_tables_of_series_and_tests_are_those_of_the_result(reports):
    page, scores, _ = (
        f(page_of(reports, "forecast")[0].read_text()) if f else x
        for f, x in zip((Page, None, None), page_of(reports, "forecast"))
    )
    rows = next(table for table in page.tables if table[0][0] == "series")
    assert {row[0] for row in rows[1:]} == {"load & heat", EVIL}
    for row in rows[1:]:
        own = next(entry for entry in scores["metrics"]["per_series"] if entry["name"] == row[0])
        assert [float(text) for text in row[2:3] + row[-1:]] == pytest.approx([own["mse"], own["rmse"]], rel=1e-3)
    for kind in ("backtest", "quantiles"):
        path, scores, _ = page_of(reports, kind)
        rows = next(table for table in Page(path.read_text()).tables if table[0][0] == "model against")
        tests = scores["backtest"]["diebold_mariano"]
        assert [(row[0], row[-1]) for row in rows[1:]] == [(name, test["verdict"]) for name, test in tests.items()]
        assert rows[0][1] == f"mean difference of {HEADLINES[kind]}"
        told = " ".join(Page(path.read_text()).texts)
        assert ("Coverage from each origin" in told) == ("Calibration" in told) == (kind == "quantiles")


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_users_are_never_markup_and_nothing_is_loaded(reports, kind):
    path, _, _ = page_of(reports, kind)
    text = path.read_text()
    page = Page(text)
    assert not {"script", "iframe", "img", "object", "embed", "form", "base"} & set(page.tags)
    assert set(page.addresses) == {"data:,"}
    assert not re.search(r"url\(|@import|https?://", text)
    # a backtest shows series in a table, a language model prompts, seq2seq its sources
    assert EVIL in "".join(cell for table in page.tables for row in table for cell in row)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_chromium_renders_it_without_an_error_or_a_request(reports, kind, dark, tmp_path):
    path, scores, _ = page_of(reports, kind)
    messages, asked, rendered = open_page(path, tmp_path, dark)
    assert messages == [] and asked == []
    assert f"{scores['count']:,}" in rendered and rendered.count("<svg") == path.read_text().count("<svg") >= 3


def test_the_browser_would_tell(tmp_path):
    """The check above sees what it looks for."""
    page = tmp_path / "bad.html"
    page.write_text('<!doctype html><img src="http://192.0.2.1/a.png"><script>console.error("planted")</script>')
    messages, asked, _ = open_page(page, tmp_path)
    assert any("planted" in message for message in messages) and asked == ["http://192.0.2.1/a.png"]


def test_the_summary_says_which_is_better():
    def told(own, other, higher, **more):
        result = {
            "metrics": {"x": own},
            "baselines": {"b": {"x": other}, "none": {}},
            "count": 1234,
            "split": "test",
            **more,
        }
        return summary(result, Headline("x", "Score", "windows", higher))

    assert (
        told(0.9, 1.0, False)
        == "Score: 0.9 over 1,234 windows of the test split. The best baseline, b, has 1: the model is better by 10.0%."
    )
    assert "worse by 10.0%" in told(0.9, 1.0, True) and "worse by 20.0%" in told(1.2, 1.0, False)
    assert "has the same" in told(1.0, 1.0, False)
    # BLEU of a model that has learnt, beside one of copied sources; an error that is many times another; a share above
    # 100% is none
    assert "the model is better: 68.0 times the baseline's." in told(34.0, 0.5, True)
    assert "the model is worse: 4.3 times the baseline's." in told(4.3, 1.0, False)
    assert "better by 99.9%" in told(0.001, 1.0, False) and "worse by 100.0%" in told(0.0, 1.0, True)
    assert told(1.0, 0.0, False).endswith("has 0: the model is worse.")
    for own in (0.01, 0.4, 0.99, 1.5, 1.99, 2.0, 3.0, 1e5):
        for higher in (False, True):
            shares = [float(share) for share in re.findall(r"([\d.,]+)%", told(own, 1.0, higher))]
            assert all(share <= 100 for share in shares)
    test = {"diebold_mariano": {"b": {"p_value": 0.031, "verdict": "better"}}}
    assert told(0.9, 1.0, False, backtest=test).endswith("Diebold-Mariano test against it: better (p = 0.031).")


def test_the_card_tells_every_setting_of_the_task(reports):
    def settings(kind, file):
        rows = re.findall(r"^\| (--\w+) \| (.*) \|$", file.read_text(), re.MULTILINE)
        assert len(rows) == len(dict(rows))
        return dict(rows)

    def names(*groups):
        return {f"--{field.name}" for group in groups for field in dataclasses.fields(group)}

    common = [config.ModelFlags, config.OptimizerFlags, config.BudgetFlags, config.DeviceFlags, config.DebugFlags]
    for kind in ("forecast", "language_model"):
        groups = [StorageFlags, *registry.flags_of(kind).train]
        directory, _ = reports[kind]
        made = export.main(
            flags.parse(ExportConfig, [f"--model_dir={directory}/model", f"--export_dir={directory}/card"])
        )
        told = settings(kind, Path(made["path"]) / "assets.extra" / "model_card.md")
        assert set(told) == names(*common, *groups) | {"--seed"}
        assert (told["--train_steps"], told["--clip_norm"], told["--epochs"], told["--jit_compile"]) == (
            "4",
            "1.0",
            "–",
            "false",
        )
        page = Page((directory / kind / "report.html").read_text())
        assert {row[0]: row[1] for table in page.tables for row in table if row[0].startswith("--")} == told


def test_the_page_is_called_as_the_data(reports):
    page = Page(page_of(reports, "forecast")[0].read_text())
    assert f"{NAME}: test split" in page.texts


@pytest.mark.parametrize("kind", KINDS)
def test_captions_tell_of_scores_that_are_there(reports, kind):
    path, scores, _ = page_of(reports, kind)
    (caption,) = [
        text for text in Page(path.read_text()).texts if text.startswith(f"{scores['count']:,} ") and ": " in text
    ]
    for names in (part.rpartition(":")[0] for part in caption.partition(". ")[2].split(";")):
        for name in names.split(", "):
            pattern = re.escape(name.strip()).replace("…", ".*")
            assert any(re.fullmatch(pattern, score) for score in scores["metrics"]), name
    assert ("crps" in caption) == (kind == "quantiles")


def test_cells():
    assert [cell(value) for value in (None, 12345, 0.123456, 123456.7, "a", 0.0)] == [
        "–",
        "12,345",
        "0.1235",
        "123,457",
        "a",
        "0",
    ]


@pytest.mark.parametrize("kind", ["forecast", "language_model", "seq2seq"])
def test_an_export_carries_a_card_with_the_scores_of_its_weights(reports, kind):
    directory, result = reports[kind]
    made = export.main(
        flags.parse(ExportConfig, [f"--model_dir={directory}/model", f"--export_dir={directory}/export"])
    )
    card = (directory / "export" / "1" / "assets.extra" / "model_card.md").read_text()
    assert made["path"].endswith("/1") and result["weights"] in card
    best = [entry for entry in run_files.read_metrics(str(directory / "model")) if "validation_" in "".join(entry)]
    assert f"at step {min(best, key=lambda entry: next(v for k, v in entry.items() if k != 'step'))['step']}" in card
    assert card.startswith(
        {"forecast": "# North &lt;b> \\| load\n", "language_model": "# a\n", "seq2seq": "# in and 1 more\n"}[kind]
    )
    for name in (
        HEADLINES[kind],
        "CRC32C",
        "tensorflow",
        "--train_steps | 4",
        "3" if kind == "forecast" else "tokenizer | char",
    ):
        assert name in card
    assert f"| {HEADLINES[kind]} | {result['metrics'][HEADLINES[kind]]:.4g} |" in card
    other = export.main(
        flags.parse(
            ExportConfig,
            [f"--model_dir={directory}/model", f"--export_dir={directory}/export", "--average_checkpoints=2"],
        )
    )
    card = (directory / "export" / "2" / "assets.extra" / "model_card.md").read_text()
    assert (
        other["path"].endswith("/2")
        and "were not evaluated before the export" in card
        and result["weights"] not in card
    )
