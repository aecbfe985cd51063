"""How much memory the largest media take that are read: of each kind one, written and read in processes of their own.

    python benchmarks/largest.py          (five minutes on two cores, 2 GB of disk at a time)

Pictures are as large as they are read at all, clips of 8K, read as for drawing.
"""

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

PICTURES = {  # the file's name: the mode of the picture, and options of Pillow
    "rgb.png": ("RGB", {"compress_level": 1}),
    "rgba.png": ("RGBA", {"compress_level": 1}),
    "palette.png": ("P", {"compress_level": 1}),
    "gray16.png": ("I;16", {"compress_level": 1}),
    "rgb.jpg": ("RGB", {}),
    "progressive.jpg": ("RGB", {"progressive": True}),
    "cmyk.jpg": ("CMYK", {}),
    "rgb.tif": ("RGB", {}),
    "rgba_lzw.tif": ("RGBA", {"compression": "tiff_lzw"}),
    "float.tif": ("F", {}),
    "rgb.bmp": ("RGB", {}),
    "rgb.tga": ("RGB", {}),
    "rgb.sgi": ("RGB", {}),
    "rgb.ppm": ("RGB", {}),
    "palette.gif": ("P", {}),
    "rgb.webp": ("RGB", {"lossless": True, "quality": 0, "method": 0}),
    "rgba_444.avif": ("RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    "rgba_444.heic": ("RGBA", {"quality": 30, "chroma": 444}),
    "rgba_one_tile.jp2": ("RGBA", {"quality_mode": "rates", "quality_layers": [40]}),
}
MOVING = "moving.gif", "moving.png", "moving.webp", "moving.avif"
CLIPS = {
    "h264.mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    "h264_444_10.mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv444p10le",
    "hevc_pq.mp4": "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le "
    "-color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc",
    "vp9.webm": "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -pix_fmt yuv420p",
    "prores.mov": "-c:v prores_ks",
    "ffv1_422_10.mkv": "-c:v ffv1 -pix_fmt yuv422p10le",
}
N_FRAMES = 12


def pattern(width, height, mode="RGB"):
    """A picture of slopes, with a line here and there."""
    from PIL import Image

    x, y = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
    if mode in ("F", "I;16"):
        gray = (x + y) / 510
        return Image.fromarray(gray.astype(np.float32) if mode == "F" else (65535 * gray).astype(np.uint16))
    colours = np.empty((height, width, 3), np.uint8)
    colours[..., 0], colours[..., 1] = x, y
    colours[..., 2] = colours[..., 0] // 2 + colours[..., 1] // 2
    colours[::97] = 255 - colours[::97]
    picture = Image.fromarray(colours)
    return picture.quantize(64, dither=0) if mode == "P" else picture.convert(mode)


def sides(most):
    """Width and height of a picture of about 3 : 2 with at most so many pixels, for which WebP is not too small."""
    width = min(int((1.5 * most) ** 0.5), 16_383 if most <= 80_000_000 else 65_535) // 2 * 2
    return width, most // width // 2 * 2


def write(path):
    """Write the largest file of its kind that is read."""
    from vision import ffmpeg_process, media, pictures

    kind = {".webp": "WEBP", ".avif": "AVIF", ".heic": "HEIF", ".jp2": "JPEG2000"}.get(path.suffix)
    most = pictures.FEWER_PIXELS.get(kind, pictures.MAX_PIXELS)
    if path.name in PICTURES:
        mode, options = PICTURES[path.name]
        pattern(*sides(most), mode).save(path, **({"format": "HEIF"} if kind == "HEIF" else {}), **options)
    elif path.name in MOVING:
        first = pattern(*sides(pictures.REDUCED_PIXELS), "P" if path.suffix == ".gif" else "RGB")
        first.save(path, save_all=True, append_images=[first.transpose(0)] * 2)
    else:
        is_picture = path.suffix == ".jxl"
        width, height = sides(media.JPEG_XL_PIXELS) if is_picture else (7680, 4320)
        source = f"testsrc2=s={width}x{height}:r=10"
        options = "-c:v libjxl -effort 1" if is_picture else CLIPS[path.name]
        command = ["-v", "error", "-nostdin", "-f", "lavfi", "-i", source, *options.split()]
        command += ["-frames:v", "1" if is_picture else str(N_FRAMES), str(path)]
        subprocess.run([ffmpeg_process.ffmpeg_exe(), *command], check=True)


def read(path):
    """Read a file as the program does, and print what that took."""
    from vision import media

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if media.kind(path) == "image":
        height, width = media.read_image(path).shape[:2]
        what = f"read as {width} x {height}"
    else:
        info = media.probe(path)
        frames = media.read_frames(path, size=media.drawn_size(info.width, info.height))
        what = f"{sum(len(batch) for batch in frames)} frames of {info.width} x {info.height}"
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ffmpeg = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = time.perf_counter() - start
    print(f"| {path.name} | {what} | {own / 2**20:.2f} | {ffmpeg / 2**20:.2f} | {seconds:.1f} |", flush=True)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parser.parse_args()


def main():
    parse_args()
    print("| | | GiB | of ffmpeg, GiB | s |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in (*PICTURES, "rgb.jxl", *MOVING, *CLIPS):
            path = Path(folder, name)
            for task in (write, read):
                process = multiprocessing.get_context("spawn").Process(target=task, args=(path,))
                process.start()
                process.join()
                if process.exitcode:
                    sys.exit(f"{name} failed")
            path.unlink()


if __name__ == "__main__":
    main()
