"""The project's modules lie beside this folder; TensorFlow is set up as the commands set it up."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # exact numbers are those of the CPU
sys.path[:0] = [str(ROOT), str(ROOT / "coco-caption")]

import device  # noqa: E402

device.set_environment()
