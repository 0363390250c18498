import json

import pytest

from launch.job import JobFlags
from trainer.cli import flags
from trainer.cli.flag_help import help_text
from trainer.config.fields import from_dict, to_dict
from trainer.config.inspect import InspectConfig
from trainer.errors import ConfigError
from trainer.tasks.configurations import EvaluateConfig, ExportConfig, PredictConfig, PrepareConfig, TrainConfig
from trainer.tasks.forecast.flags import ForecastFlags

REQUIRED = ["--data_dir=d", "--model_dir=m", "--train_steps=5"]


def problems(*arguments: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        flags.parse(TrainConfig, [*REQUIRED, *arguments])
    return {problem.flag: str(problem) for problem in caught.value.problems}


def test_values_reach_their_fields():
    config = flags.parse(TrainConfig, [*REQUIRED, "--units=7", "--jit_compile", "--dropout=0.5", "--profile_steps=3,9"])
    assert (config.model.units, config.device.jit_compile, config.model.dropout) == (7, True, 0.5)
    assert config.debug.profile_range() == (3, 9)
    assert flags.parse(TrainConfig, [*REQUIRED, "--time_features"]).of(ForecastFlags).time_features is True


def test_all_problems_are_told_at_once():
    found = problems(
        "--units=many",
        "--cell=elman",
        "--dropout=1",
        "--batch_size=0",
        "--lerning_rate=1",
        "--jit_compile=maybe",
        "stray",
    )
    assert set(found) == {"units", "cell", "dropout", "batch_size", "lerning_rate", "jit_compile", "stray"}
    assert found["cell"] == "--cell=elman is not known; use one of lstm, gru"
    assert "did you mean --learning_rate?" in found["lerning_rate"]
    assert found["units"] == "--units=many does not parse; give a whole number"


def test_reading_gives_the_problems_and_what_could_be_read():
    reading = flags.read(TrainConfig, [*REQUIRED, "--units=many", "--cell=gruu", "--batch_size=0"])
    assert reading.config is not None
    assert (reading.config.model.units, reading.config.model.cell, reading.config.budget.batch_size) == (128, "gru", 0)
    assert [problem.flag for problem in reading.problems] == ["cell", "units", "batch_size"]
    absent = flags.read(TrainConfig, ["--train_steps=5"])
    assert absent.config is None and absent.values["train_steps"] == 5


def test_missing_required_flags_are_named():
    with pytest.raises(ConfigError) as caught:
        flags.parse(TrainConfig, ["--train_steps=5"])
    assert [problem.flag for problem in caught.value.problems] == ["data_dir", "model_dir"]


@pytest.mark.parametrize("value", ["nan", "-1", "1e400"])
def test_numbers_that_are_none(value):
    assert "learning_rate" in problems(f"--learning_rate={value}")
    assert "train_seconds" in problems(f"--train_seconds={value}")


def test_one_budget_only():
    assert "--epochs" in problems("--epochs=2")["train_steps"]


def test_what_only_point_forecasts_have():
    told = "is for a parallel decoder and one value a step, not --output=quantiles"
    found = problems("--output=quantiles", "--ensemble_size=2", "--linear_skip=average")
    assert found["ensemble_size"] == f"--ensemble_size=2 {told}; leave it out"
    assert found["linear_skip"] == f"--linear_skip=average {told}; use add"
    assert "not --decoder=autoregressive" in problems("--decoder=autoregressive", "--ensemble_size=2")["ensemble_size"]
    assert "ensemble_size" in problems("--ensemble_size=0")


def test_segment_length_names_divisors():
    assert problems("--lookback=96", "--horizon=48", "--segment_length=32")["segment_length"].endswith("use 16 or 24")
    for lookback, horizon, segment in ((96, 24, 24), (96, 96, 24), (100, 30, 10), (7, 5, 1)):
        assert (
            flags.parse(TrainConfig, [*REQUIRED, f"--lookback={lookback}", f"--horizon={horizon}"])
            .of(ForecastFlags)
            .segment
            == segment
        )


def test_a_configuration_survives_json_and_its_own_flags():
    config = flags.parse(
        TrainConfig, [*REQUIRED, "--units=7", "--jit_compile", "--profile_steps=3,9", "--epochs=", "--clip_norm=0.1"]
    )
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert flags.parse(TrainConfig, flags.to_arguments(config)) == config
    with pytest.raises(ValueError, match=r"model\.wings is unknown"):
        from_dict(TrainConfig, {**to_dict(config), "model": {**to_dict(config)["model"], "wings": 2}})


def test_flag_files(tmp_path):
    (tmp_path / "run.flags").write_text("# a comment\n--units=9\n--cell=gru\n")
    config = flags.parse(TrainConfig, [f"--flagfile={tmp_path}/run.flags", *REQUIRED, "--units=10"])
    assert (config.model.units, config.model.cell) == (10, "gru")
    none = f"--flagfile={tmp_path}/none.flags"
    assert told(TrainConfig, none, "--units=many") == [
        f"{none} cannot be read (No such file or directory); give an existing file"
    ]
    (tmp_path / "odd.flags").write_bytes(b"--units=\xff")
    assert told(TrainConfig, f"--flagfile={tmp_path}/odd.flags") == [
        f"--flagfile={tmp_path}/odd.flags is not UTF-8 text; write one --name=value a line"
    ]
    assert told(TrainConfig, *REQUIRED, "--flagfile") == ["--flagfile has no value; give it as --flagfile=FILE"]


def test_help_shows_our_flags_by_group():
    text = help_text("trainer.train", "Trains.", TrainConfig)
    assert (
        text.index("forecast:")
        < text.index("--lookback [96]")
        < text.index("model:")
        < text.index("--cell (lstm, gru) [lstm]")
    )
    assert "--data_dir [required]" in text and "alsologtostderr" not in text


def told(config_class, *arguments: str) -> list[str]:
    return [str(problem) for problem in flags.read(config_class, arguments).problems]


def test_an_unknown_choice_tells_all_and_the_nearest():
    given = ["--source=csv", "--input=a", "--output_dir=b", "--date_column=d", "--static_covariates=s"]
    assert told(PrepareConfig, "--task=forecasting", *given) == [
        "--task=forecasting is not known; use one of forecast, language_model, seq2seq; did you mean forecast?"
    ]
    assert told(PrepareConfig, "--task=images", *given) == [
        "--task=images is not known; use one of forecast, language_model, seq2seq"
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data_dir=d", "--model_dir=m", "--epochs=abc"], ["--epochs=abc does not parse; give a number"]),
        (["--data_dir=d", "--model_dir=m", "--epochs"], ["--epochs has no value; give it as --epochs=VALUE"]),
        (
            ["--data_dir=d", "--model_dir=m", "--epoch=3"],
            ["--epoch=3 is not a flag of this command; did you mean --epochs?"],
        ),
        (
            ["--data_dri=d", "--model_dir=m", "--epochs=3"],
            ["--data_dri=d is not a flag of this command; did you mean --data_dir?"],
        ),
        (
            ["--data_dri", "d", "--model_dir=m", "--epochs=3"],
            ["--data_dri is not a flag", "d is not a flag; every setting is given as"],
        ),
        (
            ["--data_dir=d", "a.csv", "--model_dir=m", "--epochs=3"],
            ["a.csv is not a flag; every setting is given as --name=value"],
        ),
        (["--data_dir=d", "--model_dir=m", "--", "--epochs=3"], ["-- has no place here; leave it out"]),
        (
            [*REQUIRED, "--nojit_compile=a b"],
            ["--nojit_compile=a b takes no value; use --nojit_compile, or --jit_compile=a b"],
        ),
        ([*REQUIRED, "--jit_complie"], ["--jit_complie is not a flag of this command; did you mean --jit_compile?"]),
    ],
)
def test_one_mistake_is_told_once(arguments, expected):
    found = told(TrainConfig, *arguments)
    assert len(found) == len(expected) and all(map(str.startswith, found, expected)), found


def test_what_is_wrong_besides_is_told_too():
    found = told(TrainConfig, "--model_dir=m", "--epochs=abc", "--units=0", "--momentum=0.5", "--optimizer=adamm")
    assert found == [
        "--data_dir is missing; give it: dataset that trainer.prepare wrote",
        "--optimizer=adamm is not known; use one of adam, adamw, muon, sgd; did you mean adam?",
        "--epochs=abc does not parse; give a number",
    ]
    found = told(
        TrainConfig, "--data_dir=d", "--model_dir=m", "--epochs=abc", "--units=0", "--momentum=0.5", "--batch_sizes=0"
    )
    assert [problem.partition(" ")[0] for problem in found] == [
        "--batch_sizes=0",
        "--epochs=abc",
        "--units=0",
        "--momentum=0.5",
    ]


# Right commands, with flags that hang together.
RIGHT = {
    "train": (TrainConfig, ["--data_dir=d", "--model_dir=m", "--train_steps=5", "--jit_compile"]),
    "train by epochs": (TrainConfig, ["--data_dir=d", "--model_dir=m", "--epochs=3"]),
    "train quantiles": (
        TrainConfig,
        [
            *REQUIRED,
            "--output=quantiles",
            "--decoder=autoregressive",
            "--teacher_forcing=0.5",
            "--final_teacher_forcing=0",
        ],
    ),
    "train an ensemble": (
        TrainConfig,
        [
            *REQUIRED,
            "--ensemble_size=2",
            "--linear_skip=average",
            "--segment_length=8",
            "--forecast_loss=mae",
            "--lookback=48",
        ],
    ),
    "train on replicas": (
        TrainConfig,
        [
            *REQUIRED,
            "--optimizer=sgd",
            "--momentum=0.5",
            "--strategy=mirrored",
            "--devices_per_worker=2",
            "--kernel=cudnn",
            "--seed=1",
        ],
    ),
    "train from a bucket": (
        TrainConfig,
        ["--data_dir=gs://bucket/d", *REQUIRED[1:], "--gcs=stage", "--cache_gigabytes=3"],
    ),
    "train streaming": (
        TrainConfig,
        ["--data_dir=gs://bucket/d", *REQUIRED[1:], "--gcs=stream", "--optimizer=adamw", "--weight_decay=1"],
    ),
    "prepare csv": (
        PrepareConfig,
        ["--task=forecast", "--source=csv", "--input=a", "--output_dir=o", "--static_covariates=b", "--date_column=d"],
    ),
    "prepare text": (
        PrepareConfig,
        [
            "--task=language_model",
            "--source=text",
            "--input=a",
            "--output_dir=o",
            "--documents=lines",
            "--tokenizer=sentencepiece",
        ],
    ),
    "prepare a part": (
        PrepareConfig,
        [
            "--task=language_model",
            "--source=sample",
            "--output_dir=o",
            "--num_shards=8",
            "--num_tasks=4",
            "--task_index=2",
        ],
    ),
    "prepare pairs": (
        PrepareConfig,
        [
            "--task=seq2seq",
            "--source=pairs",
            "--input=a,b",
            "--output_dir=o",
            "--joint_vocabulary",
            "--max_source_tokens=5",
        ],
    ),
    "prepare tfds": (PrepareConfig, ["--task=seq2seq", "--source=tfds", "--tfds_name=a", "--output_dir=o"]),
    "prepare the sample": (PrepareConfig, ["--task=seq2seq", "--source=sample", "--output_dir=o", "--seed=3"]),
    "inspect": (InspectConfig, ["--data_dir=gs://bucket/d", "--cache_gigabytes=3"]),
    "evaluate": (
        EvaluateConfig,
        ["--model_dir=m", "--data_dir=d", "--backtest", "--windows=3", "--stride=2", "--conformal=validation"],
    ),
    "export": (
        ExportConfig,
        ["--model_dir=m", "--export_dir=e", "--conformal=recent", "--data_dir=d", "--n_best=3", "--beam_size=4"],
    ),
    "predict": (PredictConfig, ["--export_dir=e", "--input=i", "--output=o", "--num_samples=4"]),
    "predict and plot": (PredictConfig, ["--export_dir=e", "--input=i", "--output=o", "--plot=p"]),
    "a job": (
        JobFlags,
        [
            "--name=n",
            "--image=i",
            "--gpus_per_worker=2",
            "--gpu_type=x",
            "--overlay=multi-gpu",
            "--memory=4Gi",
            "--workers=1",
        ],
    ),
    "a job of two": (JobFlags, ["--name=n", "--image=i", "--workers=2", "--overlay=multi-worker", "--command=train"]),
}
WRONG = {int: ("abc", "-1", "0", "2.5"), float: ("abc", "-1", "nan"), bool: ("maybe",)}


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_flag_brings_no_errors_about_others(name):
    """Whatever is wrong with a flag that the command has, only that is told."""
    config_class, right = RIGHT[name]
    assert told(config_class, *right) == []
    given = {argument.lstrip("-").partition("=")[0] for argument in right}
    for spec in flags.flag_specs(config_class):
        wrong = ("wrong", "", f"{spec.choices[0]}x") if spec.choices else WRONG.get(spec.kind, ())
        for value in wrong if spec.name in given or spec.default is None else ():
            problems = flags.read(config_class, [*right, f"--{spec.name}={value}"]).problems
            if not any(problem.flag == spec.name for problem in problems):
                continue  # the value is right, only not with the others
            others = [str(problem) for problem in problems if problem.flag != spec.name]
            if spec.name not in given:  # a second budget is one mistake more
                others = [problem for problem in others if "are all given" not in problem]
            assert others == [], (spec.name, value)
            assert not any(str(problem).rstrip().endswith(("use", "=")) for problem in problems)


def test_misspelt_flags_bring_no_errors_about_others():
    for config_class, right in RIGHT.values():
        for argument in right:
            name, sign, value = argument.lstrip("-").partition("=")
            misspelt = [f"--{name}s{sign}{value}" if each == argument else each for each in right]
            assert [problem.flag for problem in flags.read(config_class, misspelt).problems] == [f"{name}s"], argument
