#!/bin/sh
# Checks an image: prepares the embedded sample, trains two steps, exports, predicts, and loads the export as a server does,
# in a directory that it removes.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python -m trainer.prepare --task=forecast --source=sample --output_dir="$place/data" --num_shards=1 --num_processes=1
python -m trainer.train --data_dir="$place/data" --model_dir="$place/model" --units=8 --batch_size=8 --train_steps=2 --lookback=24
python -m trainer.export --model_dir="$place/model" --export_dir="$place/export"
python -m trainer.predict --export_dir="$place/export" --input="$place/data/sample.csv" --output="$place/forecast.csv"
test -s "$place/forecast.csv"
# As TensorFlow Serving loads it: in a session, by the SavedModel's own restore op.
python -c 'import sys, numpy; numpy.save(sys.argv[1], numpy.ones((1, 24, 4), numpy.float32))' "$place/values.npy"
saved_model_cli run --dir "$place/export/1" --tag_set serve --signature_def serving_default \
  --inputs "values=$place/values.npy" --outdir "$place"
test -s "$place/forecast.npy"
echo "the image works"
