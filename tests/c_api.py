"""One request to a SavedModel by TensorFlow's C API, as its bindings for Java, Go and Rust make it: no Python of TensorFlow runs.

    python c_api.py MODEL REQUEST.json

The request: `inputs` and `outputs`, lists of [operation, index, type, array]; the arrays of the outputs are printed as JSON.
"""

import ctypes as c
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": 1, "int32": 3, "int64": 9}  # TF_DataType


class Output(c.Structure):
    _fields_ = [("operation", c.c_void_p), ("index", c.c_int)]


def library() -> Any:
    spec = importlib.util.find_spec("tensorflow")  # not imported
    assert spec is not None and spec.origin is not None
    directory = Path(spec.origin).parent
    c.CDLL(str(directory / "libtensorflow_framework.so.2"), c.RTLD_GLOBAL)
    api = c.CDLL(str(directory / "libtensorflow_cc.so.2"), c.RTLD_GLOBAL)
    for name in ("NewStatus", "NewGraph", "NewSessionOptions", "LoadSessionFromSavedModel", "GraphOperationByName"):
        getattr(api, f"TF_{name}").restype = c.c_void_p
    api.TF_AllocateTensor.restype = api.TF_TensorData.restype = c.c_void_p
    api.TF_Message.restype = c.c_char_p
    api.TF_TensorByteSize.restype = c.c_size_t
    api.TF_Dim.restype = c.c_int64
    return api


class Session:
    def __init__(self, path: str):
        self.api = api = library()
        self.status, self.graph = c.c_void_p(api.TF_NewStatus()), c.c_void_p(api.TF_NewGraph())
        options = c.c_void_p(api.TF_NewSessionOptions())
        tags = (c.c_char_p * 1)(b"serve")
        self.session = c.c_void_p(
            api.TF_LoadSessionFromSavedModel(options, None, path.encode(), tags, 1, self.graph, None, self.status)
        )  # fmt: skip
        self.check()

    def check(self) -> None:
        if self.api.TF_GetCode(self.status):
            sys.exit(self.api.TF_Message(self.status).decode())

    def place(self, operation: str, index: int) -> Output:
        return Output(self.api.TF_GraphOperationByName(self.graph, operation.encode()), index)

    def tensor(self, array: np.ndarray) -> c.c_void_p:
        sizes = (c.c_int64 * array.ndim)(*array.shape)
        tensor = c.c_void_p(self.api.TF_AllocateTensor(TYPES[array.dtype.name], sizes, array.ndim, c.c_size_t(array.nbytes)))
        c.memmove(self.api.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def array(self, tensor: c.c_void_p, dtype: str) -> np.ndarray:
        content = c.string_at(self.api.TF_TensorData(tensor), self.api.TF_TensorByteSize(tensor))
        shape = [self.api.TF_Dim(tensor, axis) for axis in range(self.api.TF_NumDims(tensor))]
        return np.frombuffer(content, dtype).reshape(shape)

    def run(self, inputs: list[Any], outputs: list[Any]) -> list[np.ndarray]:
        fed = (Output * len(inputs))(*(self.place(operation, index) for operation, index, _, _ in inputs))
        tensors = (c.c_void_p * len(inputs))(*(self.tensor(np.array(values, dtype)) for _, _, dtype, values in inputs))
        read = (Output * len(outputs))(*(self.place(operation, index) for operation, index, _, _ in outputs))
        found = (c.c_void_p * len(outputs))()
        self.api.TF_SessionRun(
            self.session, None, fed, tensors, len(inputs), read, found, len(outputs), None, 0, None, self.status
        )  # fmt: skip
        self.check()
        return [self.array(c.c_void_p(tensor), dtype) for tensor, (_, _, dtype, _) in zip(found, outputs)]


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[2]).read_text())
    print(json.dumps([array.tolist() for array in Session(sys.argv[1]).run(request["inputs"], request["outputs"])]))
