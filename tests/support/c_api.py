"""One request to a SavedModel by TensorFlow's C API, as its bindings for Java, Go and Rust make it: no Python of
TensorFlow runs.

    python c_api.py MODEL REQUEST.json [LIBRARY ...]

The request: `inputs` and `outputs`, lists of [tensor's name, type, array]; the arrays of the outputs are printed as
JSON. Strings are ASCII there. The libraries register ops.
"""

import ctypes as c
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": 1, "int32": 3, "string": 7, "int64": 9}  # TF_DataType
STRING_BYTES = 24  # of a TF_TString


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
    api.TF_AllocateTensor.restype = api.TF_TensorData.restype = api.TF_StringGetDataPointer.restype = c.c_void_p
    api.TF_StringGetSize.restype = c.c_size_t
    api.TF_Message.restype = c.c_char_p
    api.TF_TensorByteSize.restype = c.c_size_t
    api.TF_Dim.restype = c.c_int64
    return api


class Session:
    def __init__(self, path: str, libraries: list[str]):
        self.api = api = library()
        self.status, self.graph = c.c_void_p(api.TF_NewStatus()), c.c_void_p(api.TF_NewGraph())
        for each in libraries:
            api.TF_LoadLibrary(each.encode(), self.status)
            self.check()
        options = c.c_void_p(api.TF_NewSessionOptions())
        tags = (c.c_char_p * 1)(b"serve")
        self.session = c.c_void_p(
            api.TF_LoadSessionFromSavedModel(options, None, path.encode(), tags, 1, self.graph, None, self.status)
        )  # fmt: skip
        self.check()

    def check(self) -> None:
        if self.api.TF_GetCode(self.status):
            sys.exit(self.api.TF_Message(self.status).decode())

    def place(self, tensor: str) -> Output:
        operation, index = tensor.split(":")
        return Output(self.api.TF_GraphOperationByName(self.graph, operation.encode()), int(index))

    def tensor(self, values: Any, dtype: str) -> c.c_void_p:
        array = np.array(values, np.bytes_ if dtype == "string" else dtype)
        sizes = (c.c_int64 * array.ndim)(*array.shape)
        size = c.c_size_t(array.size * STRING_BYTES if dtype == "string" else array.nbytes)
        tensor = c.c_void_p(self.api.TF_AllocateTensor(TYPES[dtype], sizes, array.ndim, size))
        data = self.api.TF_TensorData(tensor)
        if dtype != "string":
            c.memmove(data, array.ctypes.data, array.nbytes)
        else:
            for index, text in enumerate(array.ravel().tolist()):
                place = c.c_void_p(data + index * STRING_BYTES)
                self.api.TF_StringInit(place)
                self.api.TF_StringCopy(place, text, c.c_size_t(len(text)))
        return tensor

    def array(self, tensor: c.c_void_p, dtype: str) -> np.ndarray:
        shape = [self.api.TF_Dim(tensor, axis) for axis in range(self.api.TF_NumDims(tensor))]
        data, size = self.api.TF_TensorData(tensor), self.api.TF_TensorByteSize(tensor)
        if dtype != "string":
            return np.frombuffer(c.string_at(data, size), dtype).reshape(shape)
        places = [c.c_void_p(data + first) for first in range(0, size, STRING_BYTES)]
        texts = [
            c.string_at(self.api.TF_StringGetDataPointer(place), self.api.TF_StringGetSize(place)) for place in places
        ]
        return np.array([text.decode("ascii", "backslashreplace") for text in texts], object).reshape(shape)

    def run(self, inputs: list[Any], outputs: list[Any]) -> list[np.ndarray]:
        fed = (Output * len(inputs))(*(self.place(name) for name, _, _ in inputs))
        tensors = (c.c_void_p * len(inputs))(*(self.tensor(values, dtype) for _, dtype, values in inputs))
        read = (Output * len(outputs))(*(self.place(name) for name, _, _ in outputs))
        found = (c.c_void_p * len(outputs))()
        self.api.TF_SessionRun(
            self.session, None, fed, tensors, len(inputs), read, found, len(outputs), None, 0, None, self.status
        )  # fmt: skip
        self.check()
        return [self.array(c.c_void_p(tensor), dtype) for tensor, (_, dtype, _) in zip(found, outputs)]


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[2]).read_text())
    print(
        json.dumps(
            [array.tolist() for array in Session(sys.argv[1], sys.argv[3:]).run(request["inputs"], request["outputs"])]
        )
    )
