"""Media files to uint8 arrays and back: pictures.py reads whatever is a picture, ffmpeg everything else.

A folder of numbered pictures is a video, whose frames they are.

A frame's index is its place among the decoded frames, never a time: nothing is resampled to a constant rate.
Frames come as they are displayed (rotation applied), pixel for pixel as stored.
"""

import contextlib
import itertools
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import ffmpeg
import numpy as np
from PIL import Image

from system.errors import UserError
from vision import ffmpeg_process, pictures
from vision.excerpt import Excerpt

SCALER = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
MAX_RUNS = 1000  # of consecutive frames in one `select` expression: some 50 kB of the command line
DEFAULT_FPS = 25.0  # where a file does not say how long its frames last
FOLDER_FPS = 24.0  # of a folder of frames, where nothing can say it: the rate of films, and of DAVIS
# What ffmpeg may take a file for, whatever its ending: containers and streams that hold their pictures themselves. A
# list of other files (DASH, HLS, concat, image2), a script or a device could show what else lies on the disk.
CONTAINERS = (
    "mov,matroska,avi,asf,flv,live_flv,mpegts,mpeg,mpegvideo,ogg,rm,mxf,gxf,lxf,nut,nuv,wtv,dv,swf,ivf,ivr,obu,av1,"
    "h261,h263,h264,hevc,vvc,evc,apv,avs2,avs3,cavsvideo,dirac,dnxhd,m4v,mjpeg,mjpeg_2000,vc1,vc1test,yuv4mpegpipe,"
    "4xm,amv,bink,cine,dhav,dxa,film_cpk,flic,mv,nsv,pva,psxstr,r3d,roq,rpl,ser,smk,thp,ty,vividas,vivo,vmd"
)
JPEG_XL = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"  # how such a picture begins, which ffmpeg reads and Pillow does not
JPEG_XL_PIXELS = 120_000_000  # of one, as pictures.FEWER_PIXELS
HDR = "smpte2084", "arib-std-b67"  # PQ and HLG, as ffmpeg calls the transfer functions of high dynamic range
HDR_WHITE = 203  # cd/m2: what counts as white in HDR (ITU-R BT.2408)
MOST_THREADS = 4  # of a decoder
DRAWN_PIXELS = 3_000_000  # of a frame that is decoded to be drawn, many times what a tile shows
BATCH_BYTES = 1 << 27  # of a batch of frames, and of its copy: three of 4K
TICK = "1/1000000000"  # seconds, in which `probe` asks for times: 30000/1001 is still told from its neighbours


class VideoInfo(NamedTuple):
    """A video as it decodes: displayed size in pixels, average frames per second, number of frames."""

    width: int
    height: int
    fps: float
    n_frames: int


# ---------------------------------------------------------------------------------------------- reading


def name(path):
    """What a medium is called: a file without its ending, a folder as it is."""
    if isinstance(path, Excerpt):
        return path.called(name(path.path))
    path = Path(os.path.abspath(path))
    return path.name if path.is_dir() else path.stem


def kind(path):
    """What a file holds, by its content: "image" for a still picture, "video" for all else (ffmpeg is to judge it).

    An animated GIF, WebP or PNG is a video, and so is a folder of frames. UserError where the file is missing or empty,
    and for a folder of anything else.
    """
    if os.path.isdir(path):
        pictures.frame_files(path)
        return "video"
    picture = pictures.open_picture(path)
    if picture is None:
        return "image" if _is_jpeg_xl(path) else "video"
    with picture:
        return "video" if pictures.moves(picture) else "image"


def read_image(path):
    """Read a picture of any mode -> uint8 [h, w, 3], turned as its EXIF says, transparency on white.

    16-bit and float pictures are scaled to 8 bits by their full range, very large ones are read at a half or less
    (pictures.REDUCED_PIXELS). UserError where it is broken, truncated or larger than its format may be.
    """
    if os.path.isfile(path) and _is_jpeg_xl(path):
        return next(read_frames(path, [0], _jpeg_xl_size(path)))[0]
    return pictures.read(path)


def drawn_size(width, height):
    """The size (width, height) in which frames that are to be drawn are read: their own, of large ones a half ..."""
    factor = pictures.reduction(width, height, DRAWN_PIXELS)
    return max(width // factor, 1), max(height // factor, 1)


def sample_indices(n_frames, n_samples=26):
    """The indices round(k * (n_frames - 1) / (n_samples - 1)), k = 0..n_samples-1 -> int64 [n_samples].

    A video of fewer frames repeats some; one sample is the middle frame.
    """
    if n_samples == 1:
        return np.array([(n_frames - 1) // 2])
    return np.rint(np.arange(n_samples) * (n_frames - 1) / (n_samples - 1)).astype(np.int64)


def probe(path):
    """Decode a video once, keeping nothing -> VideoInfo. UserError where no frame decodes.

    Containers are often wrong about the number of frames and the rate; here both come from the decoded frames.
    """
    if (whole := _probe_pictures(path)) is not None:
        return _part_of(whole, path) if isinstance(path, Excerpt) else whole
    # A wrapped frame is not copied, so that the checksum that framecrc prints beside its time costs nothing.
    options = {"format": "framecrc", "vcodec": "wrapped_avframe", "enc_time_base": TICK}
    n_frames = first = last = 0
    graph = _video(path).output("pipe:", fps_mode="passthrough", **options)
    with ffmpeg_process.run(path, graph) as running:
        for line in running:
            if line.startswith(b"#dimensions"):  # "#dimensions 0: 640x360"
                width, height = map(int, line.split()[-1].split(b"x"))
            elif line.startswith(b"#tb"):  # "#tb 0: 1/1000000000"
                tick = Fraction(line.split()[-1].decode())
            elif not line.startswith(b"#"):  # "stream, decode time, time, duration, size, checksum"
                last, duration = map(int, line.split(b",")[2:4])
                first = first if n_frames else last
                n_frames += 1
        complaint = running.finish()
    if n_frames == 0:
        raise path.is_empty(complaint) if isinstance(path, Excerpt) else UserError(f"{path}: {complaint}")
    ticks, intervals = (last - first, n_frames - 1) if n_frames > 1 else (duration, 1)
    fps = float(intervals / (ticks * tick)) if ticks > 0 else DEFAULT_FPS
    return VideoInfo(width, height, fps, n_frames)


def _probe_pictures(path):
    """VideoInfo of a folder of frames, or of a moving picture, as a whole; None of what ffmpeg reads."""
    if os.path.isdir(path):
        for k, frame in pictures.frames_of_folder(path):
            n_frames, (height, width) = k + 1, frame.shape[:2]
        return VideoInfo(width, height, FOLDER_FPS, n_frames)
    picture = pictures.open_picture(path)
    if picture is None:
        return None
    durations = []  # [n_frames], milliseconds
    for frame in pictures.frames(path, picture):
        durations.append(picture.info.get("duration", 0))
        height, width = frame.shape[:2]
    fps = 1000 * len(durations) / sum(durations) if sum(durations) > 0 else DEFAULT_FPS
    return VideoInfo(width, height, fps, len(durations))


def _part_of(whole, excerpt):
    """VideoInfo of an excerpt from that of the whole, whose frames have one rate; UserError where it has no frame."""
    kept = excerpt.numbers(whole.n_frames, whole.fps)
    if not kept:
        raise excerpt.is_empty()
    fps = whole.fps if len(kept) == 1 else whole.fps * (len(kept) - 1) / (kept[-1] - kept[0])
    return VideoInfo(whole.width, whole.height, fps, len(kept))


def read_frames(path, indices=None, size=None, batch_size=32):
    """Generate the frames of a video, all or those of `indices`, in batches uint8 [b, h, w, 3] with b <= batch_size.

    Batches of large frames have fewer (BATCH_BYTES). `indices` count decoded frames and ascend; a repeated one is
    decoded once and given again. `size` (width, height) squashes the whole frame, else it keeps its own. What decodes
    before and after a defect is good: UserError only where an index never comes, or no frame at all decodes.
    """
    if indices is not None and len(indices) == 0:
        return
    wanted, repeats = (None, itertools.repeat(1)) if indices is None else np.unique(indices, return_counts=True)
    came, batch = 0, []
    with contextlib.closing(_decode(path, wanted, size)) as frames:
        for frame, times in zip(frames, repeats, strict=False):
            came += 1
            for _ in range(times):
                batch.append(frame)
                if len(batch) == batch_size or len(batch) * frame.nbytes > BATCH_BYTES // 2:
                    yield np.stack(batch)
                    batch = []
    if wanted is not None and came < len(wanted):
        raise UserError(f"{path}: frame {wanted[came]} is wanted, but fewer can be decoded")
    if batch:
        yield np.stack(batch)


def sample_frames(path, n_samples, size, whole=False):
    """The frames of `sample_indices`, squashed whole to `size` (width, height) -> uint8 [n_samples, h, w, 3].

    UserError where no frame decodes; with `whole` also where the file is cut off, as far as its format tells.
    """
    # The indices depend on how many frames decode. The number of packets nearly always tells, at next to no cost; that
    # it does is seen in the same pass: the last frame that it promises has to come, and the one after it must not.
    # Only where the guess fails are the frames counted by decoding, which takes a second pass.
    n_frames, complaint = _count_packets(path)
    if whole and any(words in complaint for words in ffmpeg_process.CUT_OFF):
        raise UserError(f"{path}: cut off ({complaint})")
    if n_frames > 0:
        indices = sample_indices(n_frames, n_samples)
        wanted = np.union1d(indices, [n_frames - 1, n_frames])
        frames = dict(zip(wanted, _decode(path, wanted, size), strict=False))
        if len(frames) == len(wanted) - 1:
            return np.stack([frames[index] for index in indices])
    indices = sample_indices(probe(path).n_frames, n_samples)
    return np.concatenate(list(read_frames(path, indices, size)))


# ---------------------------------------------------------------------------------------------- ffmpeg


def _options(path):
    """What ffmpeg may do with a file: options of an input."""
    options = {
        "protocol_whitelist": "file",
        "threads": min(os.cpu_count() or 1, MOST_THREADS),
    }  # each has its own frame
    if _is_jpeg_xl(path):  # it is looked at by itself; refused by ffmpeg it would be decoded over and over
        return options | {"format_whitelist": "jpegxl_pipe"}
    return options | {"format_whitelist": CONTAINERS, "max_pixels": pictures.REDUCED_PIXELS}


def _video(path):
    """The first video stream of a file that is not a cover picture (V), as an ffmpeg-python node."""
    options = _options(path) | (path.input_options() if isinstance(path, Excerpt) else {})
    # When the picture size changes on the way the filters must not start anew, or `select` would count from 0 again.
    video = ffmpeg.input(ffmpeg_process.url(path), reinit_filter=0, **options)["V:0"]
    chosen = path.selection() if isinstance(path, Excerpt) else None
    return video if chosen is None else video.filter("select", chosen)


def _is_jpeg_xl(path):
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(12).startswith(JPEG_XL)
    return False


def _jpeg_xl_size(path):
    """The size (width, height) in which a JPEG XL is to be read; UserError where it is too large."""
    size = re.search(r"Video: jpegxl.* (\d+)x(\d+)", ffmpeg_process.describe(path, **_options(path)))
    if size is None:
        raise UserError(f"{path}: not a picture that can be read")
    width, height = map(int, size.groups())
    if width * height > JPEG_XL_PIXELS:
        raise UserError(f"{path}: {pictures.too_large(width * height, JPEG_XL_PIXELS)}")
    factor = pictures.reduction(width, height)
    return max(width // factor, 1), max(height // factor, 1)


def _is_hdr(path):
    """Whether a video's brightness is that of high dynamic range, by what ffmpeg says of its first stream."""
    said = ffmpeg_process.describe(path, **_options(path))
    streams = re.findall(r"^ *Stream #.* Video: .*$", said, re.MULTILINE)
    return any(transfer in streams[0] for transfer in HDR) if streams else False


def _count_packets(path):
    """The number of packets, nearly always that of the frames, without decoding, and what ffmpeg says against the file.

    0 where nobody knows, as of an excerpt; the complaint means nothing where there is none. Of a folder it is the
    number of its pictures.
    """
    if isinstance(path, Excerpt):
        return 0, ""
    if os.path.isdir(path):
        return len(pictures.frame_files(path)), ""
    packets = _video(path).output("pipe:", format="framecrc", vcodec="copy")
    with ffmpeg_process.run(path, packets) as running:
        return sum(not line.startswith(b"#") for line in running), running.finish()


def _decode(path, wanted, size):
    """Generate the frames uint8 [h, w, 3] at the ascending indices `wanted` (None: all), as far as they come."""
    if not os.path.isdir(path) and pictures.open_picture(path) is None:
        numbered = _video_frames(path, wanted, size)
    elif isinstance(path, Excerpt):
        numbered = _excerpted(path, wanted)
    else:
        numbered = _pictures(path, wanted)
    kept = None if wanted is None else set(wanted.tolist())
    for k, frame in numbered:
        if kept is None or k in kept:
            if size is not None and frame.shape[1::-1] != tuple(size):
                frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
            yield frame
        if kept is not None and k == wanted[-1]:
            return


def _pictures(path, wanted):
    """Generate (index, frame) of a folder of frames, or of a moving picture, which gives those not wanted, too."""
    if os.path.isdir(path):
        return pictures.frames_of_folder(path, wanted)
    return enumerate(pictures.frames(path, pictures.open_picture(path)))


def _excerpted(excerpt, wanted):
    """`_pictures` of an excerpt, whose frames count from 0."""
    whole = _probe_pictures(excerpt.path)
    kept = np.array(excerpt.numbers(whole.n_frames, whole.fps), int)
    places = np.arange(len(kept)) if wanted is None else wanted[wanted < len(kept)]
    place_of = dict(zip(kept[places].tolist(), places.tolist(), strict=True))
    for number, frame in _pictures(excerpt.path, kept[places]):
        if number in place_of:
            yield place_of[number], frame


def _video_frames(path, wanted, size):
    """Generate (index, frame) by ffmpeg, where the frames that are not wanted are neither scaled nor piped."""
    video, indices = _video(path), itertools.count()
    if wanted is not None:
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        if len(runs) > MAX_RUNS:  # then one run, with frames in between that the caller leaves out
            runs = [wanted]
        spans = [(int(run[0]), int(run[-1])) for run in runs]
        video = video.filter("select", _within(spans))
        indices = itertools.chain.from_iterable(range(first, last + 1) for first, last in spans)
    width, height = size or ("iw", "ih")
    video = video.filter("scale", width, height, flags=SCALER)
    if _is_hdr(path):
        video = _tone_mapped(video)
    # PPM is raw RGB, each frame with its size before it.
    graph = video.output("pipe:", format="image2pipe", vcodec="ppm", pix_fmt="rgb24", fps_mode="passthrough")
    came = False
    with ffmpeg_process.run(path, graph) as running:
        for k, frame in zip(indices, _read_ppm(running), strict=False):
            came = True
            running.check()  # else the frames that are missing would shift the others
            yield k, frame
        complaint = running.finish()
    if not came and (wanted is None or wanted[0] == 0):
        raise UserError(f"{path}: {complaint}")


def _tone_mapped(video):
    """Frames of high dynamic range brought to the usual one: linear light, what is brighter than white compressed."""
    video = video.filter("zscale", transfer="linear", npl=HDR_WHITE).filter("format", "gbrpf32le")
    video = video.filter("zscale", primaries="bt709").filter("tonemap", "mobius")
    return video.filter("zscale", transfer="bt709", matrix="bt709", range="tv")


def _within(spans):
    """ffmpeg's expression for "n lies within one of the ascending spans (first, last)"."""
    if len(spans) == 1:
        return "between(n,{},{})".format(*spans[0])
    middle = len(spans) // 2  # a search by halves, because a plain sum is refused beyond 100 terms
    return f"if(lt(n,{spans[middle][0]}),{_within(spans[:middle])},{_within(spans[middle:])})"


def _read_ppm(stream):
    """Generate the pictures uint8 [h, w, 3] of a stream of PPM files."""
    while stream.readline():  # "P6"
        width, height = map(int, stream.readline().split())
        stream.readline()  # "255"
        frame = np.empty((height, width, 3), np.uint8)
        if stream.readinto(frame.reshape(-1)) < frame.nbytes:
            return
        yield frame
