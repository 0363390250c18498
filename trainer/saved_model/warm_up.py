"""Requests that TensorFlow Serving replays when it loads a version, so that no user waits for the first trace.

https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from trainer.tasks.serving import Serving

WARM_UP_FILE = "tf_serving_warmup_requests"


def write_warm_up(serving: Serving, extra: Path) -> None:
    """Writes one request a signature, its example, as TFRecords of `PredictionLog` into `assets.extra`."""
    with tf.io.TFRecordWriter(str(extra / WARM_UP_FILE)) as records:
        for name, signature in serving.signatures.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for key, value in signature.example.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            records.write(log.SerializeToString())
