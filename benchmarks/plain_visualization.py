"""Stage 3 as the published program does it, written plainly: the contender in the benchmarks.

    python benchmarks/plain_visualization.py CLIP EXPERIMENT SENTENCE OUTPUT.mp4

ffmpeg writes every frame as a JPEG file; the CNN sees one frame a call, the captioner the 64 regions of one frame a
call; matplotlib draws each frame of the result into a PNG file, and ffmpeg makes a video of them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

from system import device, errors
from vision import ffmpeg_process


def write_jpegs(clip, folder):
    """All frames of a clip as JPEG files -> their paths, in order."""
    command = [ffmpeg_process.ffmpeg_exe(), "-v", "error", "-i", clip, "-q:v", "2", f"{folder}/%06d.jpg"]
    subprocess.run(command, check=True)
    return sorted(Path(folder).glob("*.jpg"))


def descriptors_one_by_one(forward, paths, size):
    """The CNN's grids of some pictures, one a call -> [n, Gy, Gx, D]."""
    pictures = (Image.open(path).resize((size, size), Image.Resampling.LANCZOS) for path in paths)
    return np.concatenate([forward(np.asarray(picture)[None]) for picture in pictures])


class Figure:
    """A matplotlib figure with a tile for each word, drawn anew for each frame."""

    def __init__(self, words):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        self.words, self.plt = words, plt

    def draw(self, frame, maps, path):
        """frame uint8 [h, w, 3] under maps [T, Gy, Gx] in [0, 1], written to `path`."""
        height, width = frame.shape[:2]
        figure, axes = self.plt.subplots(2, 4, figsize=(12.8, 4.4))
        axes = axes.ravel()
        axes[0].imshow(frame)
        for axis, word, values in zip(axes[1:], self.words, maps, strict=False):
            levels = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
            axis.imshow(frame)
            axis.imshow(np.asarray(levels), cmap="jet", alpha=0.5, vmin=0, vmax=1)
            axis.set_title(word)
        for axis in axes:
            axis.axis("off")
        figure.savefig(path, dpi=100)
        self.plt.close(figure)


def main():
    clip, experiment, sentence, output = sys.argv[1:]
    device.start_tensorflow()
    import tensorflow as tf
    from plain_captioner import PlainCaptioner

    import saliency
    from captioner import checkpoint
    from vision import cnn, ffmpeg_process

    saved = checkpoint.load(checkpoint.choose(experiment))
    extractor = cnn.load(saved.config.cnn, saved.config.cnn_weights)
    captioner = PlainCaptioner(saved.model.reference_weights(), saved.config.n_lstm_step)
    words = sentence.split()
    ids = [saved.vocabulary.ids[word] for word in words]
    caption = tf.constant(ids + [0] * (saved.config.n_lstm_step - len(ids)))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_jpegs(clip, folder)
        grids = descriptors_one_by_one(extractor, paths, extractor.input_size)  # [F, Gy, Gx, D]
        _, height, width, dim = grids.shape
        regions = saliency.smooth_descriptors(grids).reshape(len(grids), -1, dim)  # [F, R, D]
        raw = np.stack([captioner.saliency(tf.constant(frame), caption).numpy()[:, : len(ids)].T for frame in regions])
        maps = saliency.normalize_released(raw.reshape(len(grids), len(ids), height, width))
        figure = Figure(words)
        for path, frame_maps in zip(paths, maps, strict=True):
            figure.draw(np.asarray(Image.open(path)), frame_maps, path.with_suffix(".png"))
        pictures = ["-framerate", "30", "-i", f"{folder}/%06d.png", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
        subprocess.run([ffmpeg_process.ffmpeg_exe(), "-v", "error", "-y", *pictures, output], check=True)


if __name__ == "__main__":
    errors.run(main)
