"""Loads a SavedModel as a server does, in a process that has the op library and nothing else of ev_tf. Called by test_serving.py:

    serve_saved_model.py LOADER LIBRARY SAVED_MODEL REQUESTS.npy ANSWERS.npy [REQUEST ...]

LOADER is python (tf.saved_model.load), session (tf.compat.v1.saved_model.load), or c: TensorFlow's C API, whose
TF_LoadSessionFromSavedModel is the C++ loader of TensorFlow Serving, in a process without TensorFlow's Python. Each
REQUEST of a call is a signature that is called once; the answer of the last is kept. Prints a JSON object: what an error said, and
the memory that the process took at most.
"""

import ctypes
import glob
import json
import resource
import sys

import numpy as np


def by_python(library, directory, ids, signatures):
  import tensorflow as tf

  tf.load_op_library(library)
  loaded = tf.saved_model.load(directory)
  for name in signatures:
    answer = loaded.signatures[name](ids=tf.constant(ids))
  return next(iter(answer.values())).numpy()


def by_session(library, directory, ids, signatures):
  import tensorflow as tf

  tf.load_op_library(library)
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    defs = tf.compat.v1.saved_model.load(session, ["serve"], directory).signature_def
    for name in signatures:
      (given,), (wanted,) = defs[name].inputs.values(), defs[name].outputs.values()
      answer = session.run(wanted.name, {given.name: ids})
  return answer


class Output(ctypes.Structure):
  """TF_Output."""

  _fields_ = [("op", ctypes.c_void_p), ("index", ctypes.c_int)]


class Buffer(ctypes.Structure):
  """TF_Buffer."""

  _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]


INT64, FLOAT = 9, 1  # of TF_DataType


class CLoader:
  """A session of the C API."""

  def __init__(self, library, directory):
    found = [path for base in sys.path for path in glob.glob(f"{base}/tensorflow/libtensorflow_cc.so.2")]
    self._tf = ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)
    for name in ("NewStatus", "LoadLibrary", "NewGraph", "NewSessionOptions", "NewBuffer", "LoadSessionFromSavedModel",
                 "GraphOperationByName", "AllocateTensor", "TensorData", "Message"):
      getattr(self._tf, f"TF_{name}").restype = ctypes.c_void_p
    self._tf.TF_TensorByteSize.restype = ctypes.c_size_t
    self._tf.TF_Dim.restype = ctypes.c_int64
    self._status = ctypes.c_void_p(self._tf.TF_NewStatus())
    self._tf.TF_LoadLibrary(library.encode(), self._status)
    self._check()
    self._graph = ctypes.c_void_p(self._tf.TF_NewGraph())
    self._meta_graph = ctypes.c_void_p(self._tf.TF_NewBuffer())
    tags = (ctypes.c_char_p * 1)(b"serve")
    options = ctypes.c_void_p(self._tf.TF_NewSessionOptions())
    self._session = ctypes.c_void_p(self._tf.TF_LoadSessionFromSavedModel(
        options, None, directory.encode(), tags, 1, self._graph, self._meta_graph, self._status))
    self._check()

  def _check(self):
    if self._tf.TF_GetCode(self._status) != 0:
      raise RuntimeError(ctypes.string_at(self._tf.TF_Message(self._status)).decode())

  def meta_graph(self):
    buffer = Buffer.from_address(self._meta_graph.value)
    return ctypes.string_at(buffer.data, buffer.length)

  def _output(self, tensor):
    name, index = tensor.split(":")
    return Output(self._tf.TF_GraphOperationByName(self._graph, name.encode()), int(index))

  def run(self, given, ids, wanted):
    dims = (ctypes.c_int64 * ids.ndim)(*ids.shape)
    fed = ctypes.c_void_p(self._tf.TF_AllocateTensor(INT64, dims, ids.ndim, ctypes.c_size_t(ids.nbytes)))
    ctypes.memmove(self._tf.TF_TensorData(fed), ids.ctypes.data, ids.nbytes)
    inputs, outputs = (Output * 1)(self._output(given)), (Output * 1)(self._output(wanted))
    feeds, fetched = (ctypes.c_void_p * 1)(fed), (ctypes.c_void_p * 1)()
    self._tf.TF_SessionRun(self._session, None, inputs, feeds, 1, outputs, fetched, 1, None, 0, None, self._status)
    self._check()
    tensor = ctypes.c_void_p(fetched[0])
    assert self._tf.TF_TensorType(tensor) == FLOAT
    shape = [self._tf.TF_Dim(tensor, i) for i in range(self._tf.TF_NumDims(tensor))]
    data = ctypes.string_at(self._tf.TF_TensorData(tensor), self._tf.TF_TensorByteSize(tensor))
    return np.frombuffer(data, np.float32).reshape(shape).copy()


def fields(message):
  """(number, value) of a protocol buffer's fields: bytes, or int."""
  at = 0

  def varint():
    nonlocal at
    value, shift = 0, 0
    while True:
      byte = message[at]
      at += 1
      value |= (byte & 127) << shift
      shift += 7
      if byte < 128:
        return value

  while at < len(message):
    key = varint()
    if key & 7 == 0:
      yield key >> 3, varint()
    else:
      size = {1: 8, 5: 4}.get(key & 7) or varint()
      yield key >> 3, message[at:at + size]
      at += size


def signatures_of(meta_graph):
  """{signature: (name of its one input, name of its one output)} of a MetaGraphDef."""
  found = {}
  for number, entry in fields(meta_graph):
    if number == 5:
      name, signature = (dict(fields(entry))[i] for i in (1, 2))
      ends = {kind: dict(fields(dict(fields(end))[2]))[1].decode() for kind, end in fields(signature) if kind in (1, 2)
              and 1 in dict(fields(dict(fields(end))[2]))}
      found[name.decode()] = ends.get(1), ends.get(2)
  return found


def by_c(library, directory, ids, signatures):
  loader = CLoader(library, directory)
  names = signatures_of(loader.meta_graph())
  for name in signatures:
    given, wanted = names[name]
    answer = loader.run(given, ids, wanted)
  assert "tensorflow" not in sys.modules
  return answer


def main(loader, library, directory, requests, answers, *signatures):
  report = {}
  try:
    call = {"python": by_python, "session": by_session, "c": by_c}[loader]
    np.save(answers, call(library, directory, np.load(requests), signatures or ["serving_default"]))
  except Exception as error:  # pylint: disable=broad-except
    report["error"] = str(error)
  assert "ev_tf" not in sys.modules
  report["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  print(json.dumps(report))


if __name__ == "__main__":
  main(*sys.argv[1:])
