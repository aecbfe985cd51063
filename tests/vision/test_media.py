"""Videos are read: which frames come, and how, whatever the file is like."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from system.errors import UserError
from tests import make_media
from tests.make_media import read
from vision import ffmpeg_process, media, writing

SHARED = Path(__file__).resolve().parents[3] / "shared"
WHITE = (255, 255, 255)


# Which frames


def test_sample_indices_of_the_reference():
    golden = SHARED / "golden" / "golden_preprocess.npz"
    if not golden.exists():
        pytest.skip("the reference's numbers are not here")
    with np.load(golden) as arrays:
        names = [name for name in arrays if name.startswith("frames_")]
        assert len(names) == 6
        for name in names:
            assert media.sample_indices(int(name.removeprefix("frames_"))).tolist() == arrays[name].tolist()


@pytest.mark.parametrize(
    ("n_frames", "n_samples", "indices"),
    [(1, 4, [0, 0, 0, 0]), (2, 4, [0, 0, 1, 1]), (7, 4, [0, 2, 4, 6]), (6, 3, [0, 2, 5]), (9, 1, [4]), (1, 1, [0])],
)
def test_sample_indices_by_hand(n_frames, n_samples, indices):  # in (6, 3) a half, 2.5, goes to the even number
    sampled = media.sample_indices(n_frames, n_samples)
    assert sampled.dtype == np.int64
    assert sampled.tolist() == indices


@pytest.mark.parametrize("size", [None, (31, 17)])
def test_selected_frames_are_those_of_decoding_all(tmp_path, size):
    frames = make_media.noise_frames(30)
    path = make_media.write_video(tmp_path / "noise.mp4", frames)
    indices = [0, 3, 4, 5, 5, 5, 17, 29, 29]
    everything = read(path, size=size, batch_size=7)
    assert everything.shape == ((30, 32, 48, 3) if size is None else (30, 17, 31, 3))
    if size is None:
        np.testing.assert_array_equal(everything, frames)
    np.testing.assert_array_equal(read(path, indices, size=size), everything[indices])


def test_many_runs_of_frames(tmp_path):
    frames = make_media.noise_frames(300, 16, 16)
    path = make_media.write_video(tmp_path / "noise.mp4", frames)
    indices = np.flatnonzero(np.arange(300) % 5 % 3 != 1)  # 0, 2, 3, 5, ...: 120 runs
    np.testing.assert_array_equal(read(path, indices), frames[indices])


def test_more_runs_of_frames_than_one_expression_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "MAX_RUNS", 2)
    path = make_media.write_video(tmp_path / "v.mp4", make_media.numbered_frames(20))
    assert make_media.numbers(read(path, [2, 5, 6, 9, 9, 12])) == [2, 5, 6, 9, 9, 12]


def test_batches_are_full_but_the_last(tmp_path):
    path = make_media.write_video(tmp_path / "v.mp4", make_media.numbered_frames(10))
    assert [len(batch) for batch in media.read_frames(path, batch_size=4)] == [4, 4, 2]
    assert [len(batch) for batch in media.read_frames(path, [1] * 9, batch_size=4)] == [4, 4, 1]
    assert [len(batch) for batch in media.read_frames(path, np.arange(5), batch_size=4)] == [4, 1]
    assert list(media.read_frames(path, [])) == []


def test_variable_rate_gives_the_frames_that_were_stored(tmp_path):
    times = [k * k * 0.004 for k in range(36)]  # 0 to 4.9 seconds
    path = make_media.write_video(tmp_path / "variable.mp4", make_media.numbered_frames(36), times=times)
    info = media.probe(path)
    assert info.n_frames == 36
    assert info.fps == pytest.approx(35 / 4.9)
    assert make_media.numbers(read(path)) == list(range(36))
    assert make_media.numbers(media.sample_frames(path, 6, (8, 8))) == [0, 7, 14, 21, 28, 35]


@pytest.mark.parametrize("promised", [0, 5, 11, 13, 40])
def test_samples_do_not_depend_on_the_promised_number_of_frames(tmp_path, monkeypatch, promised):
    path = make_media.write_video(tmp_path / "v.mp4", make_media.numbered_frames(12))
    assert media._count_packets(path)[0] == 12
    monkeypatch.setattr(media, "_count_packets", lambda path: (promised, ""))
    for n_samples in (1, 4, 30):
        samples = media.sample_frames(path, n_samples, (8, 8))
        assert make_media.numbers(samples) == media.sample_indices(12, n_samples).tolist()


def test_one_pass_where_the_promise_holds(tmp_path, monkeypatch):
    path = make_media.write_video(tmp_path / "v.mp4", make_media.numbered_frames(12))
    monkeypatch.setattr(media, "probe", None)
    assert make_media.numbers(media.sample_frames(path, 4, (8, 8))) == [0, 4, 7, 11]


@pytest.mark.parametrize("n_frames", [1, 5])
def test_short_clips(tmp_path, n_frames):
    path = make_media.write_video(tmp_path / "short.mp4", make_media.numbered_frames(n_frames), fps=10)
    assert media.probe(path) == (48, 32, pytest.approx(10), n_frames)
    assert make_media.numbers(media.sample_frames(path, 26, (8, 8))) == media.sample_indices(n_frames).tolist()


# Odd videos


@pytest.mark.parametrize(
    "name", ["a b.mp4", "-i.mp4", "a.b.c.mp4", "été 猫.mp4", "50%03d.mp4", "a:b.mp4", "[x]*?{1,2}.mp4", "it's\\.mp4"]
)
def test_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    writing.write_video(name, make_media.numbered_frames(3), 25)
    assert os.listdir() == [name]
    assert media.probe(name).n_frames == 3
    assert make_media.numbers(media.sample_frames(name, 3, (8, 8))) == [0, 1, 2]


def test_rotation_is_applied(tmp_path):
    frames = np.zeros((3, 32, 64, 3), np.uint8)
    frames[:, :, :32] = WHITE  # the left half; turned clockwise it is the upper one
    path = make_media.write_video(tmp_path / "phone.mp4", frames)
    make_media.rotate_mp4(path)
    assert media.probe(path)[:2] == (32, 64)
    turned = read(path)  # [3, 64, 32, 3]
    np.testing.assert_array_equal(turned, np.rot90(frames, -1, axes=(1, 2)))
    small = media.sample_frames(path, 2, (10, 20))  # [2, 20, 10, 3]
    assert small.shape == (2, 20, 10, 3)
    assert small[:, :8].min() > 250
    assert small[:, 12:].max() < 5


def test_size_that_changes_on_the_way(tmp_path):
    numbered = make_media.numbered_frames(20)
    parts = [numbered[:10], np.repeat(numbered[10:], 2, axis=2)]
    path = tmp_path / "change.h264"
    content = [make_media.write_video(tmp_path / f"{k}.h264", part).read_bytes() for k, part in enumerate(parts)]
    path.write_bytes(b"".join(content))
    assert media.probe(path)[:2] == (48, 32)
    assert make_media.numbers(read(path)) == list(range(20))
    assert make_media.numbers(read(path, [1, 12, 19])) == [1, 12, 19]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ten_bit.mp4", ["-c:v", "libx264", "-pix_fmt", "yuv444p10le"]),
        ("alpha.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"]),
        ("mpeg.mpg", ["-c:v", "mpeg1video", "-q:v", "1"]),
        ("motion_jpeg.avi", ["-c:v", "mjpeg", "-q:v", "1"]),
        ("packed.webm", ["-c:v", "libvpx-vp9", "-lossless", "1"]),
    ],
)
def test_formats_and_an_odd_size(tmp_path, name, options):
    path = make_media.write_video(tmp_path / name, make_media.numbered_frames(6, 31, 33), *options)
    assert media.kind(path) == "video"
    assert media.probe(path) == (33, 31, pytest.approx(25, rel=1e-3), 6)
    np.testing.assert_allclose(read(path).astype(int), make_media.numbered_frames(6, 31, 33), atol=3)


def test_the_first_real_stream_is_taken(tmp_path):
    cover, film, second = tmp_path / "cover.png", tmp_path / "film.mp4", tmp_path / "second.mp4"
    writing.write_image(cover, np.full((20, 20, 3), 255, np.uint8))
    make_media.write_video(film, make_media.numbered_frames(4))
    make_media.write_video(second, make_media.numbered_frames(9, 64, 64))
    path = tmp_path / "several.mp4"
    maps = ["-map", 0, "-map", 1, "-map", 2, "-c", "copy", "-disposition:v:0", "attached_pic"]
    make_media.run_ffmpeg("-i", cover, "-i", film, "-i", second, *maps, path)
    assert media.probe(path) == (48, 32, pytest.approx(25), 4)
    assert make_media.numbers(read(path)) == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["end", "middle"])
def test_what_decodes_of_a_broken_video_is_used(tmp_path, damage):
    options = ["-c:v", "libx264", "-g", "5", "-pix_fmt", "yuv420p"]
    path = make_media.write_video(tmp_path / "broken.ts", make_media.noise_frames(40), *options)
    if damage == "end":
        make_media.truncate(path, 0.6)
    else:
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle - 20000 : middle] = bytes(20000)
        path.write_bytes(content)
    n_frames = media.probe(path).n_frames
    assert 10 < n_frames < 40
    frames = read(path, size=(16, 16))
    assert len(frames) == n_frames
    np.testing.assert_array_equal(media.sample_frames(path, 26, (16, 16)), frames[media.sample_indices(n_frames)])
    with pytest.raises(UserError, match=r"broken\.ts: frame 39 is wanted"):
        read(path, [0, 39])


# Failures


@pytest.mark.parametrize("options", [["broken.mkv"], ["-movflags", "+faststart", "broken.mp4"]])
def test_a_video_that_is_cut_off_is_read_unless_it_has_to_be_whole(tmp_path, options):
    path = make_media.write_video(tmp_path / options[-1], make_media.noise_frames(40), *options[:-1])
    whole = media.sample_frames(path, 4, (16, 16), whole=True)
    assert len(whole) == 4
    make_media.truncate(path, 0.6)
    assert len(media.sample_frames(path, 4, (16, 16))) == 4
    with pytest.raises(UserError, match=rf"{path.name}: cut off \("):
        media.sample_frames(path, 4, (16, 16), whole=True)


def test_files_without_a_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "page.mp4").write_text("<html>404 not found</html>")
    headless = make_media.write_video(tmp_path / "headless.mp4", make_media.numbered_frames(5))
    make_media.truncate(headless, 0.5)  # the index stands at the end
    make_media.write_audio(tmp_path / "sound.mp3")
    writing.write_image(tmp_path / "cover.png", np.zeros((20, 20, 3), np.uint8))
    cover = ["-i", tmp_path / "cover.png", "-map", 0, "-map", 1, "-c:v", "copy", "-disposition:v", "attached_pic"]
    make_media.write_audio(tmp_path / "album.mp3", *cover)
    make_media.write_audio(tmp_path / "album.mkv")
    reasons = {
        "missing.mp4": "No such file",
        "empty.mp4": "empty",
        "folder.mp4": "folder",
        "page.mp4": "no video, or",
        "headless.mp4": "no index \\(moov atom",
        "sound.mp3": "no video by itself: sound",
        "album.mp3": "no video by itself: sound",
        "album.mkv": "no video in it",
    }
    for name, reason in reasons.items():
        path = tmp_path / name
        for attempt in (media.probe, read, lambda path: media.sample_frames(path, 26, (8, 8)), media.read_image):
            if attempt is media.read_image and name not in ("missing.mp4", "empty.mp4", "folder.mp4"):
                reason = "not a picture"
            with pytest.raises(UserError, match=reason) as caught:
                attempt(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)
    for name in ("missing.mp4", "empty.mp4", "folder.mp4"):
        with pytest.raises(UserError, match=reasons[name]):
            media.kind(tmp_path / name)


def test_an_abandoned_reader_leaves_no_process(tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def note(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    path = make_media.write_video(tmp_path / "long.mp4", make_media.noise_frames(50, 128, 128))
    monkeypatch.setattr(ffmpeg_process.subprocess, "Popen", note)
    frames = media.read_frames(path, batch_size=1)
    next(frames)
    assert started[-1].poll() is None  # 50 such frames are more than a pipe takes
    frames.close()
    assert all(process.returncode is not None for process in started) and len(started) == 2
    assert started[-1].stdout.closed


def test_a_flood_of_complaints_does_not_block(tmp_path, fake_ffmpeg):
    (tmp_path / "v.mp4").write_text("not empty")
    fake_ffmpeg("yes '[h264 @ 0x1f] [dec @ 0x2f] bad block' | head -n 20000 >&2; printf 'P6\\n1 1\\n255\\nabc'")
    assert read(tmp_path / "v.mp4").tolist() == [[[list(b"abc")]]]
    fake_ffmpeg("yes '[h264 @ 0x1f] [dec @ 0x2f] bad block' | head -n 20000 >&2")
    with pytest.raises(UserError, match=r"v\.mp4: bad block$"):
        read(tmp_path / "v.mp4")


def test_a_killed_ffmpeg_is_not_taken_for_the_end(tmp_path, fake_ffmpeg):
    (tmp_path / "v.mp4").write_text("not empty")
    fake_ffmpeg("printf 'P6\\n1 1\\n255\\nabc'; kill -9 $$")
    with pytest.raises(UserError, match="ended by signal 9"):
        read(tmp_path / "v.mp4")


@pytest.mark.slow
def test_an_ffmpeg_that_gives_nothing_any_more_is_ended(tmp_path, fake_ffmpeg, monkeypatch):
    (tmp_path / "v.mp4").write_text("not empty")
    monkeypatch.setattr(ffmpeg_process, "PATIENCE", 1)
    for script in ("exec sleep 60", "printf 'P6\\n1 1\\n255\\nabc'; exec sleep 60", "exec >&-; exec sleep 60"):
        fake_ffmpeg(f"case $* in *pipe:*) {script};; esac")  # it is asked for the file's streams first
        with pytest.raises(UserError, match=r"v\.mp4: ffmpeg gave nothing for 1 s, and was ended$"):
            read(tmp_path / "v.mp4")


@pytest.mark.slow
def test_an_ffmpeg_that_waits_for_us_or_reads_on_is_not_ended(tmp_path, fake_ffmpeg, monkeypatch):
    monkeypatch.setattr(ffmpeg_process, "PATIENCE", 1)
    path = make_media.write_video(tmp_path / "long.mp4", make_media.noise_frames(50, 128, 128))
    frames = media.read_frames(path, batch_size=1)
    next(frames)
    time.sleep(2.5)
    assert sum(1 for _ in frames) == 49
    slowly = "for k in 1 2 3 4 5 6; do read line < /etc/passwd; sleep 0.5; done; printf 'P6\\n1 1\\n255\\nabc'"
    fake_ffmpeg(f"case $* in *pipe:*) {slowly};; esac")
    assert read(path).shape == (1, 1, 1, 3)


@pytest.mark.slow
def test_an_ffmpeg_that_reads_its_file_round_and_round_is_ended(tmp_path, fake_ffmpeg):
    (tmp_path / "v.mp4").write_text("not empty")
    fake_ffmpeg("case $* in *pipe:*) while :; do read line < /etc/passwd; done;; esac")
    with ffmpeg_process.patience(2), pytest.raises(UserError, match=r"ffmpeg gave nothing for 2 s, and was ended$"):
        read(tmp_path / "v.mp4")


@pytest.mark.slow
def test_an_ffmpeg_that_does_not_say_what_a_file_is_is_no_answer(tmp_path, fake_ffmpeg, monkeypatch):
    """Else a clip of high dynamic range would be shown as if it had the usual one."""
    (tmp_path / "v.mp4").write_text("not empty")
    monkeypatch.setattr(ffmpeg_process, "PATIENCE", 1)
    fake_ffmpeg("case $* in *pipe:*) printf 'P6\\n1 1\\n255\\nabc';; *) exec sleep 60;; esac")
    with pytest.raises(UserError, match=r"v\.mp4: ffmpeg said nothing for 1 s, and was ended$"):
        read(tmp_path / "v.mp4")


def test_ffmpeg_of_the_system_is_taken_only_where_it_will_do(tmp_path, monkeypatch):
    able = ffmpeg_process.ffmpeg_exe()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "the bundled one")
    found = ffmpeg_process.ffmpeg_exe.__wrapped__  # past the cache
    assert found() == "the bundled one"
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    assert found() == "the bundled one"
    (tmp_path / "ffmpeg").unlink()
    (tmp_path / "ffmpeg").symlink_to(able)
    assert found() == str(tmp_path / "ffmpeg")
