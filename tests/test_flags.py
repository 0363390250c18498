import json

import pytest

from trainer import flags
from trainer.config import TrainConfig, from_dict, to_dict
from trainer.errors import ConfigError
from trainer.flag_help import help_text

REQUIRED = ["--data_dir=d", "--model_dir=m", "--train_steps=5"]


def problems(*arguments: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        flags.parse(TrainConfig, [*REQUIRED, *arguments])
    return {problem.flag: str(problem) for problem in caught.value.problems}


def test_values_reach_their_fields():
    config = flags.parse(TrainConfig, [*REQUIRED, "--units=7", "--jit_compile", "--dropout=0.5", "--profile_steps=3,9"])
    assert (config.model.units, config.device.jit_compile, config.model.dropout) == (7, True, 0.5)
    assert config.debug.profile_range() == (3, 9)
    assert flags.parse(TrainConfig, [*REQUIRED, "--time_features"]).forecast.time_features is True


def test_all_problems_are_told_at_once():
    found = problems("--units=many", "--cell=elman", "--dropout=1", "--batch_size=0", "--lerning_rate=1", "--jit_compile=maybe", "stray")
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
        assert flags.parse(TrainConfig, [*REQUIRED, f"--lookback={lookback}", f"--horizon={horizon}"]).forecast.segment == segment


def test_a_configuration_survives_json_and_its_own_flags():
    config = flags.parse(TrainConfig, [*REQUIRED, "--units=7", "--jit_compile", "--profile_steps=3,9", "--epochs=", "--clip_norm=0.1"])
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert flags.parse(TrainConfig, flags.to_arguments(config)) == config
    with pytest.raises(ValueError, match=r"model\.wings is unknown"):
        from_dict(TrainConfig, {**to_dict(config), "model": {**to_dict(config)["model"], "wings": 2}})


def test_flag_files(tmp_path):
    (tmp_path / "run.flags").write_text("# a comment\n--units=9\n--cell=gru\n")
    config = flags.parse(TrainConfig, [f"--flagfile={tmp_path}/run.flags", *REQUIRED, "--units=10"])
    assert (config.model.units, config.model.cell) == (10, "gru")
    assert "flagfile" in problems(f"--flagfile={tmp_path}/none.flags")


def test_help_shows_our_flags_by_group():
    text = help_text("trainer.train", "Trains.", TrainConfig)
    assert text.index("forecast:") < text.index("--lookback [96]") < text.index("model:") < text.index("--cell (lstm, gru) [lstm]")
    assert "--data_dir [required]" in text and "alsologtostderr" not in text
