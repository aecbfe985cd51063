"""TensorFlow is set up for the tests as the commands set it up."""

import os

from system import device

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # exact numbers are those of the CPU
device.set_environment()
