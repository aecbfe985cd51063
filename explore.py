"""The page, alive: lay a photograph or a clip before the captioner, and ask.

    python explore.py
    python explore.py --experiment experiments/Flickr8k --method single_descriptor best --port 8080

Open the address that it prints. Choose a picture or a clip, pick one of the captioner's own captions or type any
sentence, and hold the words; cover a part of the picture, and see what the captioner says then. Nothing leaves this
machine: it listens on 127.0.0.1 alone and answers only its own page. What one chooses lies in a temporary folder, which
goes at the end (Ctrl-C).
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import tempfile

import caption_saliency
import cfg
from system import device, errors
from system.errors import UserError

HOST = "127.0.0.1"


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", metavar="DIR", help="the experiment's folder (default: the bundled captioner)")
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="default: the best on validation")
    caption_saliency.add_captioner_arguments(parser)
    parser.add_argument("--method", metavar="NAME", nargs="+", help="the maps to choose from (default: the paper's)")
    parser.add_argument("--port", type=int, default=8017, help="of the address (default: 8017; 0: any that is free)")
    cfg.add_set_argument(parser)
    device.add_arguments(parser)
    args = parser.parse_args(argv)
    caption_saliency.check_captioner(args, parser)
    return args


def listen(port):
    """A socket that listens on `port` of this machine alone; UserError where that is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"port {port} cannot be had ({error}): name another one with --port") from error
    return listener


def addresses(port):
    """How browsers name this server."""
    return [host if port == 80 else f"{host}:{port}" for host in (HOST, "localhost")]


def main(argv=None):
    args = parse_args(argv)
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError:
        raise UserError("Starlette and uvicorn are missing: pip install -e '.[explore]'") from None

    class Server(uvicorn.Server):
        def handle_exit(self, number, frame):
            self.config.app.jobs.end()
            super().handle_exit(number, frame)

    # However it ends, the temporary folder goes, with what TensorFlow has written there.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with (
        listen(args.port) as listener,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        tempfile.tempdir = folder
        asked = args.checkpoint, args.set, args.gpu, args.captioner, args.revision
        explain = caption_saliency.load(args.experiment, args.method, *asked)
        from explain import server
        from explain.workbench import Workbench

        bench = Workbench(explain.load(), folder)
        bench.warm_up()
        port = listener.getsockname()[1]
        app = server.make_app(bench, addresses(port))
        config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=1)
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            print(f"open http://{addresses(port)[0]} in a browser; Ctrl-C ends it", flush=True)
            Server(config).run(sockets=[listener])
    os._exit(0)  # without waiting for a job that is still computed


if __name__ == "__main__":
    errors.run(main)
