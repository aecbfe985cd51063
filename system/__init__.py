"""The machine underneath: starting TensorFlow, files, errors."""
