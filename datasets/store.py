"""The descriptors that stage 1 stores: their names, reading and writing, and which media have them.

stored = store.Store(config)
stored.load("video7")    # [N, D] of a video, [Gy, Gx, D] of an image
"""

import collections
import os

import numpy as np

from data_loader import as_sequence
from datasets.failures import Failures
from system import arrays, files
from system.errors import UserError

FAILURES = "failures.jsonl"
WHOLE, REGIONS, MIRRORED = ".npy", ".regions.npy", ".mirrored.npy"  # how the names of stored files end
CNN_FILE = "cnn.json"  # beside the descriptors: which CNN made them


class Store:
    """The stored descriptors of a data set, computed as `config` says: a folder with a file or two a medium.

    Those of a medium of more_sources, such as "COCO/sample_12", lie in the folder of its own data set.
    """

    def __init__(self, config):
        self.config = config
        self.folder = config.descriptors_dir
        self.noted = Failures(self.folder / FAILURES)
        self._forms = {}  # of what was read first: its path and shape
        self.more = {source: Store(config.of(source)) for source in config.sources[1:]}

    # Names

    def _file(self, media_id, ending):
        source, _, own_id = media_id.rpartition("/")
        folder = self.more[source].folder if source else self.folder
        return folder / f"{own_id}{ending}"

    def path(self, media_id):
        return self._file(media_id, WHOLE)

    def regions_path(self, media_id):
        """Where the sampled regions of a video lie, for training on single regions."""
        return self._file(media_id, REGIONS)

    def mirrored_path(self, media_id):
        """Where the descriptors of an image's mirror image lie."""
        return self._file(media_id, MIRRORED)

    def _endings(self):
        """How the names of the files end that stage 1 stores for a medium."""
        endings = [WHOLE]
        if self.config.media == "video" and self.config.single_region_share > 0:
            endings.append(REGIONS)
        if self.config.flip_probability > 0:
            endings.append(MIRRORED)
        return endings

    def paths(self, media_id):
        """Every file that stage 1 stores for a medium."""
        return [self._file(media_id, ending) for ending in self._endings()]

    def is_complete(self, media_id):
        """Whether every file that stage 1 stores for a medium is there."""
        return all(path.exists() for path in self.paths(media_id))

    def complete(self, media_ids, for_training=True):
        """Those of the ids that are complete -> set; by one listing of the folder, not by a look at every file.

        Without `for_training` the descriptors of the medium as a whole suffice.
        """
        present = {}  # data set, "" for the own one -> the names in its folder
        for source, one in {"": self, **self.more}.items():
            present[source] = set(os.listdir(one.folder)) if one.folder.is_dir() else set()
        endings, complete = self._endings() if for_training else [WHOLE], set()
        for media_id in media_ids:
            source, _, own_id = media_id.rpartition("/")
            if all(own_id + ending in present[source] for ending in endings):
                complete.add(media_id)
        return complete

    # Reading

    def load(self, media_id, mirrored=False):
        """The descriptors of a medium, [N, D] of a video, [Gy, Gx, D] of an image; UserError if there are none."""
        return self._read(self.mirrored_path(media_id) if mirrored else self.path(media_id))

    def load_regions(self, media_id):
        """Descriptors of single regions [R, D]: an image's grid, of a video the regions that stage 1 sampled."""
        if self.config.media == "image":
            return as_sequence(self.load(media_id))
        return self._read(self.regions_path(media_id))

    def _read(self, path):
        again = "remove it and run preprocessing.py again"
        try:
            array = arrays.read(path)
        except FileNotFoundError:
            raise UserError(f"{path} is missing: run {self._stage_1} first, with the same --set") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): {again}") from None
        is_regions = path.name.endswith(REGIONS)
        n_axes = 2 if self.config.media == "video" or is_regions else 3
        if array.dtype.kind != "f" or array.ndim != n_axes or array.size == 0:
            raise UserError(f"{path} holds no descriptors but {array.dtype} of shape {array.shape}: {again}")
        # A medium has as many cells or frames, and numbers in each, as every other; regions are as many as were found.
        form = array.shape[-1:] if is_regions else array.shape
        other, first = self._forms.setdefault(is_regions, (path, form))
        if form != first:
            raise UserError(f"{path} has shape {array.shape}, and {other} {first}: {again}")
        return array.astype(self.config.descriptor_dtype, copy=False)

    @property
    def _stage_1(self):
        """The command that computes what is missing."""
        return f"`python preprocessing.py --dataset {' '.join(self.config.sources)}`"

    def cnn_weights_id(self):
        """Which weights the CNN had: `vision.cnn.Extractor.weights_id`, None where it is not noted.

        UserError where they are others for one of more_sources.
        """
        path = self.folder / CNN_FILE
        own = files.read_table(path, "the CNN's name and weights_id").get("weights_id") if path.exists() else None
        for other in self.more.values():
            if len({own, other.cnn_weights_id()} - {None}) > 1:
                raise UserError(
                    f"{self.folder} and {other.folder} hold descriptors of {self.config.cnn} with different weights: "
                    f"move one of them away, and run {self._stage_1} with the weights of the other"
                )
        return own

    def failures(self):
        """The media that stage 1 could not read, whether or not it could since: dict of id -> reason."""
        found = self.noted.all()
        for source, other in self.more.items():
            found |= {f"{source}/{own_id}": reason for own_id, reason in other.failures().items()}
        return found

    def usable(self, media, for_training=True):
        """Those of the media (annotations.Medium) that have descriptors; failures of stage 1 are left out.

        Training can need more than the descriptors of the medium as a whole: see `paths`.
        UserError where others lack theirs, or where none of a data set is left.
        """
        if not media:
            raise UserError(
                f"a split of {self.config.data_dir} has no media: training needs a train and a validate split"
            )
        failures = self.failures()
        present = self.complete((medium.id for medium in media), for_training)
        missing = [medium.id for medium in media if medium.id not in present and medium.id not in failures]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(media)} media have no descriptors in {self.path(missing[0]).parent}, such as "
                f"{missing[0]}: run {self._stage_1} with the same --set"
            )
        read = {self.path(media_id).parent for media_id in present}
        for folder, n_media in collections.Counter(self.path(medium.id).parent for medium in media).items():
            if folder not in read:
                raise UserError(
                    f"preprocessing.py could read none of the {n_media} media; {folder / FAILURES} says why"
                )
        return [medium for medium in media if medium.id in present]

    # Writing

    def prepare(self, extractor):
        """Note in the folder whose descriptors it has, those of a CNN (vision.cnn.Extractor).

        UserError where it holds descriptors of a CNN with other weights.
        """
        stored = self.cnn_weights_id()
        if stored not in (None, extractor.weights_id):
            raise UserError(
                f"{self.folder} holds descriptors of {self.config.cnn} with other weights ({stored}, not "
                f"{extractor.weights_id}): move the folder away, or use those weights"
            )
        if stored is None:
            files.write_json(self.folder / CNN_FILE, {"cnn": self.config.cnn, "weights_id": extractor.weights_id})

    def write(self, path, array):
        """Store an array under one of the `paths`, whole or not at all."""
        with files.whole(path) as partial:
            np.save(partial, array)
