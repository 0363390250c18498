#!/bin/sh
# Checks an image: prepares the embedded sample, trains two steps, exports and predicts, in a directory that it removes.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python -m trainer.prepare --task=forecast --source=sample --output_dir="$place/data" --num_shards=1 --num_processes=1
python -m trainer.train --data_dir="$place/data" --model_dir="$place/model" --units=8 --batch_size=8 --train_steps=2
python -m trainer.export --model_dir="$place/model" --export_dir="$place/export"
python -m trainer.predict --export_dir="$place/export" --input="$place/data/sample.csv" --output="$place/forecast.csv"
test -s "$place/forecast.csv"
echo "the image works"
