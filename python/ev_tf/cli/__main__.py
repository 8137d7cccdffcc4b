"""python -m ev_tf.cli: the `ev-tf` command."""

from ev_tf.cli import main

main(prog_name="ev-tf")
