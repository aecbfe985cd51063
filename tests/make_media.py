"""Odd media made on the spot, for tests: frames that carry their own number, and files that hold them without loss."""

import struct
import subprocess

import numpy as np
from PIL import Image

from vision import ffmpeg_process, media

STEP = 5  # of brightness from one numbered frame to the next


def run_ffmpeg(*arguments, data=None):
    command = [ffmpeg_process.ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE)


def numbered_frames(n, height=32, width=48):
    """Flat gray frames uint8 [n, height, width, 3], of which frame k has the brightness STEP * k (n <= 52)."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None] * STEP, (n, height, width, 3))


def numbers(frames):
    """The numbers of frames that `numbered_frames` made, read back -> list of n."""
    return np.rint(frames.mean(axis=(1, 2, 3)) / STEP).astype(int).tolist()


def noise_frames(n, height=32, width=48):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), np.uint8)


def write_picture(path, height, width):
    """A picture of noise, the same for each size -> its path."""
    Image.fromarray(noise_frames(1, height, width)[0]).save(path)
    return path


def read(path, *arguments, **options):
    """All frames that `media.read_frames` gives, uint8 [n, h, w, 3]."""
    return np.concatenate(list(media.read_frames(path, *arguments, **options)))


def write_video(path, frames, *options, fps=25, times=None):
    """Store uint8 [n, h, w, 3] as they are, in H.264 with B-frames unless `options` name another codec.

    `times` (seconds, one a frame) makes a variable frame rate.
    """
    height, width = frames.shape[1:3]
    if times is not None:
        ticks = "+".join(f"eq(N,{k})*{round(time * 1000)}" for k, time in enumerate(times))
        options = (
            "-vf",
            f"settb=1/1000,setpts='{ticks}'",
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1/1000",
            *options,
        )
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", fps, "-i", "pipe:")
    lossless = () if "-c:v" in options else ("-c:v", "libx264rgb", "-qp", "0", "-bf", "2")
    run_ffmpeg(*source, *lossless, *options, f"file:{path}", data=frames.tobytes())
    return path


def change_tags(path, new):
    """Change the entries of a TIFF's directory: new(tag, type, count, value) -> the same."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (n_tags,) = struct.unpack_from("<H", content, start)
    for at in range(start + 2, start + 2 + 12 * n_tags, 12):
        struct.pack_into("<HHII", content, at, *new(*struct.unpack_from("<HHII", content, at)))
    path.write_bytes(content)


def write_tiled_tiff(path, picture, side=None):
    """A TIFF of one tile of that many pixels a side (those of the square picture), as Pillow writes none."""
    picture.save(path, compression="tiff_deflate", tiffinfo={254: 0})

    def one_tile(tag, *entry):  # instead of one strip
        tag = {273: 324, 279: 325, 278: 322, 284: 323}.get(tag, tag)
        return tag, *((4, 1, side or picture.width) if tag in (322, 323) else entry)

    change_tags(path, one_tile)


def rotate_mp4(path):
    """Have an MP4 file shown turned by 90 degrees clockwise, as a phone does: by the matrix in its track header."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def truncate(path, share):
    """Keep that share of a file, from its start."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def write_audio(path, *options):
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", *options, path)
    return path
