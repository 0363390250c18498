"""Two real workers under `launch.local`: killed, frozen or missing, the group is soon back in training and loses
nothing.

`benchmarks/faults.py` does the same with more faults, and measures the times on a quiet machine.
"""

import faults
import launched_run
import pytest
from series_runs import prepare_csv, write_series_csv

NOTICED_SECONDS = 10.0
STEPS = 400
FLAGS = [
    "--time_features",
    "--lookback=24",
    "--horizon=6",
    "--num_layers=2",
    "--units=32",
    "--dropout=0.3",
    "--batch_size=64",
    f"--train_steps={STEPS}",
    "--evaluate_every_steps=200",
    "--save_every_steps=20",
]


@pytest.mark.alone  # how long a start takes in quiet bounds the starts that are watched
def test_every_fault_is_noticed_in_time_and_costs_no_bit(tmp_path):
    csv = write_series_csv(tmp_path / "series.csv", 2000)
    data = prepare_csv(csv, tmp_path / "data", "--splits=1800,100,100", "--num_shards=4")
    flags = [*FLAGS, f"--data_dir={data}"]
    with launched_run.LaunchedRun(tmp_path / "quiet", flags) as quiet:
        quiet.wait(lambda: quiet.trains_again(1), timeout_seconds=120)
        code, result = quiet.finish(120)
    assert code == 0 and result["step"] == STEPS, "\n".join(quiet.log)
    assert quiet.starts[0].trained is not None

    # A start must fit in it, on a busy machine too.
    peer_timeout_seconds = 5 + 2 * (quiet.starts[0].trained - quiet.starts[0].began)
    flags.append(f"--peer_timeout_seconds={peer_timeout_seconds}")
    chosen = ["SIGKILL of worker 0", "SIGSTOP of worker 1", faults.NEVER_COMES, faults.HANDSHAKE]
    recoveries, result = faults.run_with_faults(
        tmp_path / "broken", flags, chosen, steps_between=50, timeout_seconds=180
    )
    assert result["step"] == STEPS
    assert launched_run.losses(tmp_path / "broken") == launched_run.losses(tmp_path / "quiet")
    killed, frozen, *starting = recoveries
    assert killed.new_processes_seconds < NOTICED_SECONDS
    assert frozen.new_processes_seconds < peer_timeout_seconds + NOTICED_SECONDS
    assert all(one.new_processes_seconds < peer_timeout_seconds + NOTICED_SECONDS for one in starting)
    assert 0 < killed.resumed_from < frozen.resumed_from < starting[0].resumed_from < starting[1].resumed_from < STEPS
