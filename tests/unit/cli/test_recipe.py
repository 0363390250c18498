"""Recipes are whole, found by name from anywhere, and give way to what is given beside them."""

import pytest
from commands import ROOT, start_anew

from launch import local
from launch.job import JobFlags
from launch.job import read as read_job
from trainer.cli import flags, recipe
from trainer.errors import ConfigError
from trainer.tasks.configurations import ExportConfig, TrainConfig
from trainer.tasks.forecast.flags import ForecastFlags
from trainer.text.flags import EmbeddingFlags

PLACES = ["--data_dir=/data/d", "--model_dir=/data/m"]


def parse(*arguments: str) -> TrainConfig:
    return flags.parse(TrainConfig, [*PLACES, *arguments])


def problems(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(*arguments)
    return [str(problem) for problem in caught.value.problems]


def test_every_file_has_a_name():
    assert recipe.names() == sorted(path.stem for path in (ROOT / "trainer" / "recipes").iterdir())


@pytest.mark.parametrize("name", recipe.names())
def test_a_recipe_is_its_file(name):
    lines = (ROOT / "trainer" / "recipes" / f"{name}.flags").read_text().splitlines()
    assert lines[0].startswith("# ") and len(lines[0]) > 30, "what the list says of it"
    config = parse(f"--recipe={name}")
    assert config == parse(*(line for line in lines if not line.startswith("#")))
    assert config == parse(*flags.to_arguments(config))


@pytest.mark.parametrize(
    "arguments",
    [["--units=7", "--recipe=dates"], ["--recipe=dates", "--units=7"], ["--recipe", "dates", "--units", "7"]],
)
def test_arguments_win_in_any_order(arguments):
    config = parse(*arguments)
    assert (config.model.units, config.model.cell, config.of(EmbeddingFlags).embedding_size) == (7, "gru", 64)


def test_flag_files_win_and_may_name_a_recipe(tmp_path):
    (tmp_path / "own.flags").write_text("--recipe=dates\n--units=7\n--notie_weights\n")
    for arguments in ([f"--flagfile={tmp_path}/own.flags"], [f"--flagfile={tmp_path}/own.flags", "--recipe=dates"]):
        config = parse(*arguments)
        assert (config.model.units, config.of(EmbeddingFlags).tie_weights, config.budget.train_seconds) == (
            7,
            False,
            150,
        )


@pytest.mark.parametrize("budget", ["train_steps", "epochs", "train_seconds"])
def test_a_budget_replaces_the_recipes(budget):
    own = parse("--recipe=etth1_96", f"--{budget}=3").budget
    assert {name: getattr(own, name) for name in own.ALTERNATIVES} == dict.fromkeys(own.ALTERNATIVES) | {budget: 3}


def test_a_name_that_there_is_not():
    assert problems("--recipe=etth1_9", "--units=0") == ["--recipe=etth1_9 is not a recipe; did you mean etth1_96?"]
    lists = "python -m trainer.train --recipe=help lists those there are"
    assert problems("--recipe=../recipes/x", "--cell=rnn") == [
        f"--recipe=../recipes/x is not a recipe; {lists}",
        "--cell=rnn is not known; use one of lstm, gru",
    ]
    assert "did you mean --recipe?" in problems("--recipes=dates", "--epochs=1")[0]


def test_other_commands_have_none():
    with pytest.raises(ConfigError, match="--recipe=dates is not a flag of this command"):
        flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", "--recipe=dates"])


def test_launchers_take_recipes_too():
    expected = parse("--recipe=forecast_sample", "--units=7")
    job = read_job(JobFlags, ["--name=load", "--image=i:1", "--", *PLACES, "--recipe=forecast_sample", "--units=7"])[1]
    assert flags.parse(TrainConfig, job.trainer_flags) == job.config == expected
    _, config = local.parse(["--", *PLACES, "--recipe=forecast_sample", "--units=7"])
    assert (config.model, config.of(ForecastFlags), config.budget) == (
        expected.model,
        expected.of(ForecastFlags),
        expected.budget,
    )


@pytest.mark.parametrize("arguments", [["--recipe=help"], ["--data_dir=d", "--recipe", "help"]])
def test_help_lists_them(arguments):
    done = start_anew("trainer.train", *arguments)
    assert done.returncode == 0, done.stderr
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(listed) == recipe.names()
    assert listed["dates"].startswith("The sample of pairs: dates written in many ways")
    assert "--recipe=NAME" in start_anew("trainer.train", "--help").stdout
