import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from trainer.saved_model.warm_up import WARM_UP_FILE, write_warm_up
from trainer.tasks.serving import Serving, Signature


def test_the_requests_are_the_examples_of_all_signatures(tmp_path):
    examples = {
        "serving_default": {
            "values": np.arange(6, dtype=np.float32).reshape(3, 2),
            "group": np.array([0, 1, 0], np.int32),
        },
        "score": {"text": np.array([b"to be", "größer".encode(), b""], object)},
    }
    signatures = {name: Signature(lambda **inputs: inputs, (), example) for name, example in examples.items()}
    write_warm_up(Serving(signatures, {}), tmp_path)
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(tmp_path / WARM_UP_FILE))
    ]
    requests = {log.predict_log.request.model_spec.signature_name: log.predict_log.request for log in logs}
    assert set(requests) == set(examples)
    for name, example in examples.items():
        assert set(requests[name].inputs) == set(example)
        for key, value in example.items():
            found = tf.make_ndarray(requests[name].inputs[key])
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(found, value)
