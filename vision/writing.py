"""Arrays to media files: PNG by Pillow, MP4 and GIF by ffmpeg."""

import itertools
import subprocess
import zlib
from fractions import Fraction

import ffmpeg
import numpy as np
from PIL import Image

from system import files
from system.errors import UserError
from vision import ffmpeg_process
from vision.media import SCALER


def write_image(path, frame):
    """Write uint8 [h, w, 3] as a PNG file. UserError where it cannot be written."""
    with files.whole(path) as partial:
        # Runs alone make a file as small as the search for repetitions does, in a quarter of the time.
        Image.fromarray(frame).save(partial, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)


def write_video(path, frames, fps):
    """Write an iterable of uint8 [h, w, 3] as an MP4 file that plays everywhere: H.264, 4:2:0, index in front.

    Odd sizes are made even by repeating the last row or column. UserError where there is no frame or no room.
    """
    even = (np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge") for frame in frames)

    def bt709(video):  # without the tags players guess the matrix by the size of the frame, and colours shift
        video = video.filter("scale", out_color_matrix="bt709", out_range="tv", flags=SCALER)
        return video.filter("setparams", color_primaries="bt709", color_trc="bt709")

    # The preset takes half the time of x264's own; files are as small, and the pictures hardly worse.
    options = {"format": "mp4", "vcodec": "libx264", "preset": "veryfast", "crf": 18, "pix_fmt": "yuv420p"}
    options["movflags"] = "+faststart"
    _encode(path, even, fps, bt709, options)


def write_gif(path, frames, fps):
    """Write an iterable of uint8 [h, w, 3] as a GIF file that repeats for ever. UserError as for `write_video`."""

    def palettes(video):  # one for every frame: the best colours, and no need to hold all frames to find a common one
        if fps > 50:  # browsers play delays below 2/100 s at a fraction of the speed
            video = video.filter("fps", 50)
        copies = video.filter_multi_output("split")
        palette = copies[0].filter("palettegen", stats_mode="single")
        # An ordered pattern stays where it is from frame to frame; diffused errors would shimmer.
        return ffmpeg.filter([copies[1], palette], "paletteuse", new=1, dither="bayer", bayer_scale=5)

    _encode(path, frames, fps, palettes, {"format": "gif"})


def _encode(path, frames, fps, filters, options):
    """Send frames uint8 [h, w, 3] through ffmpeg: `filters` turns its input node into the one to store."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path}: there is no frame to write")
    height, width = first.shape[:2]
    rate = Fraction(fps).limit_denominator(1001)  # 29.97003 is 30000/1001
    source = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=str(rate))
    with files.whole(path) as partial:
        graph = filters(source).output(ffmpeg_process.url(partial), **options)
        with ffmpeg_process.run(path, graph, stdin=subprocess.PIPE) as running:
            try:
                for frame in itertools.chain([first], frames):
                    if frame.shape != first.shape:
                        raise ValueError(f"frame of shape {frame.shape} among those of {first.shape}")
                    running.process.stdin.write(np.ascontiguousarray(frame, np.uint8).data)
                running.process.stdin.close()
            except BrokenPipeError:  # ffmpeg has ended, and says why
                pass
            complaint = running.finish()
        if running.process.returncode != 0:
            raise UserError(f"{path}: cannot be written ({complaint})")
