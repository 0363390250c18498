from __future__ import annotations

from trainer.data.shards import dataset_name


def test_names_that_tfds_accepts() -> None:
    names = {"ETTh1": "etth1", "My Data-2": "my_data_2", "2024": "dataset_2024", "Über": "ber", "数据": "dataset"}
    assert {name: dataset_name(f"/x/{name}/") for name in names} == names
