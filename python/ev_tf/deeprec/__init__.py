"""TensorFlow 1.15's names and DeepRec's, for programs that were written for DeepRec.

`import ev_tf.deeprec`, before `import tensorflow as tf`, or `ev-tf run script.py`, and tf in the program is TensorFlow 1's
surface, without eager mode, with tf.get_embedding_variable and the rest of DeepRec. The modules that such programs import,
tensorflow.contrib.layers and tensorflow.core.framework.embedding.config_pb2 among them, are there. docs/deeprec.md lists
every name.

It holds for the whole process, from the first import on: TensorFlow 2 behaviour is switched off, and `import tensorflow`
in libraries that are imported later gives the same. Do not import it in a program of your own that uses TensorFlow 2.
"""

from ev_tf.deeprec import install as _install
from ev_tf.deeprec.notices import IgnoredWarning

__all__ = ["IgnoredWarning"]

_install.install()
