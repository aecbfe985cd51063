"""Training: step after step, with checkpoints from which a run goes on to the bit."""

import contextlib
import dataclasses
import functools
import re
import shutil
import signal
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import cfg
import data_loader
from captioner import checkpoint, naming, related_words, self_critical, training_step
from captioner.distribution import ALONE
from datasets import annotations, store
from system import files
from system.errors import UserError
from vision import cnn

# What --resume may change: neither the shapes nor the sense of the weights depend on it.
RESUME_SETTINGS = ("data_dir", "descriptors_root", "n_epochs", "max_to_keep", "save_every_n_epoch")

# What --test writes.
PREDICTIONS = re.compile(
    rf"model-\d+(-({'|'.join(map(re.escape, cfg.DATASETS))}))?(-(train|validate))?(-beam\d+(-penalty[\d.e-]+)?)?\.json"
)

MODEL_CARD = "MODEL_CARD.md"  # beside a captioner that is published


class Trainer:
    """One training run: the model, Adam, and the place in the order of the samples."""

    def __init__(self, config, vocabulary, model, media, distribution=ALONE):
        """`media`: those of annotations.read_media; those of the training and the validation split are used.

        The model's variables were made in the scope of `distribution`.
        """
        self.config, self.vocabulary, self.model, self.distribution = config, vocabulary, model, distribution
        self.stored = store.Store(config)
        self.cnn_weights_id = self.stored.cnn_weights_id()
        train, validate = (
            self.stored.usable(annotations.captioned(annotations.split_media(media, split)))
            for split in ("train", "validate")
        )
        self._media = train, validate
        self.samples = data_loader.training_samples(self.stored, vocabulary, train)
        self.validation = data_loader.validation_samples(self.stored, vocabulary, validate)
        self.step = 0
        self.losses_since_save = []  # of the training steps since the last row of the loss table
        self.interim = None  # the step of the checkpoint that an interrupted run left between two that are due
        self.steps_per_epoch = self.samples.n_batches()
        self.last_step = self.steps_per_epoch * config.n_epochs
        self._beside = self._naming_loss() if config.naming_weight > 0 else None
        self._about = {"beside": self._beside, "per_medium": self.samples.per_sample, "distribution": distribution}
        with distribution.scope():
            self.optimizer = training_step.make_optimizer(config, self.last_step)
            self._step = training_step.make_step(model, self.optimizer, config.descriptor_dtype, **self._about)
        self.first_self_critical = self.steps_per_epoch * (config.n_epochs - config.self_critical_epochs)
        self._loss_sum = distribution.traced(
            self._summed_loss, training_step.batch_signature(model, config.descriptor_dtype)
        )

    @functools.cached_property
    def _self_critical(self):
        """What the self-critical epochs train by; others can do without its tables of n-grams."""
        dtype = self.config.descriptor_dtype
        return self_critical.SelfCritical(
            self.model, self.optimizer, self.vocabulary, dtype, *self._media, **self._about
        )

    def _summed_loss(self, descriptors, captions, masks):
        """S2VT.caption_loss_sum of a batch of the validation."""
        descriptors, share = self.distribution.own(descriptors, tf.shape(captions)[0], self.validation.per_sample)
        loss, n_words = self.model.caption_loss_sum(descriptors, captions, masks, share=share)
        return *self.distribution.sum([loss]), n_words

    def _naming_loss(self):
        """The loss of naming, weighted, as a function of a batch and a share of it."""
        prior = naming.log_prior(self.samples.captions, self.samples.masks, len(self.vocabulary))
        return lambda *batch, share: self.config.naming_weight * naming.loss(self.model, *batch, prior, share)

    def check_workers(self):
        """UserError where the workers are not about to train the same: from one checkpoint, on the same captions."""
        folders = "experiment", "data_dir", "descriptors_root"  # may have other names elsewhere
        settings = {name: value for name, value in dataclasses.asdict(self.config).items() if name not in folders}
        about = settings, self.step, self.samples.n_captions, self.vocabulary.words
        if not self.distribution.all_alike(zlib.crc32(repr(about).encode())):
            raise UserError(
                f"the workers differ: this one has {self.samples.n_captions} captions, {len(self.vocabulary)} words "
                f"and is at step {self.step}; each needs the same command, the same data and the same checkpoints"
            )

    def is_due(self, step):
        """Whether a checkpoint is due after that step: every save_every_n_epoch, and after the last one."""
        every = self.config.save_every_n_epoch * self.steps_per_epoch
        near = (round(step / every) + k for k in (-1, 0, 1))
        return step == self.last_step or any(k >= 1 and max(1, round(k * every)) == step for k in near)

    def run(self):
        """Train from where the run stands to its end; yields after every step."""
        while self.step < self.last_step:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            batches = self.samples.training_batches(epoch, first, self.distribution.part)
            for number, batch in enumerate(batches, first):
                seed = self.config.seed, self.step
                if self.step < self.first_self_critical:
                    loss, is_sound = self._step(*batch, seed)
                else:
                    media_ids = self.samples.media_of_batch(epoch, number)
                    reward, is_sound = self._self_critical.step(media_ids, batch, seed)
                    loss = -reward
                self.step += 1
                self.check_sound(is_sound)
                self.losses_since_save.append(float(loss))
                yield

    def check_sound(self, is_sound):
        """UserError unless what was computed in this step is sound: the weights are lost."""
        if not is_sound:
            raise UserError(
                f"training diverged at step {self.step}: the loss, its gradient or a weight is beyond all bounds. "
                f"Train anew with a smaller learning_rate than {self.config.learning_rate:g} (by --set); "
                "the checkpoints before that step are as they were"
            )

    @contextlib.contextmanager
    def averaged_weights(self):
        """Context manager: the model has the running average of its weights, where the optimizer keeps one.

        Yields the weights themselves, None where there is no average.
        """
        if not self.optimizer.use_ema:
            yield None
            return
        weights = self.model.reference_weights()
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        try:
            yield weights
        finally:
            self.model.load_reference_weights(weights)

    def validation_loss(self):
        """Mean cross-entropy a word over the validation samples, without dropout; part batches count by their words.

        In self-critical epochs minus the mean CIDEr-D of the captions: less than any cross-entropy.
        """
        with self.averaged_weights():
            if self.step > self.first_self_critical:
                return -self._self_critical.validate(self.validation)
            sums = [self._loss_sum(*batch) for batch in self.validation.batches(part=self.distribution.part)]
        return float(sum(loss for loss, _ in sums) / sum(n_words for _, n_words in sums))

    def save(self, **losses):
        """Write the checkpoint of this step; it takes the place of an interim one. The chief does, the others wait."""
        if self.distribution.is_chief:
            self._write(losses)
        self.distribution.wait()

    def _write(self, losses):
        state = {
            "epoch": self.step / self.steps_per_epoch,
            "n_samples": self.samples.n_captions,
            "losses_since_save": self.losses_since_save,
            "cnn_weights_id": self.cnn_weights_id,
            **losses,
        }
        where = self.config.experiment, self.step
        with self.averaged_weights() as weights:
            checkpoint.save(*where, self.config, self.vocabulary, self.model, self.optimizer, state, weights)
        if self.interim is not None:
            files.remove_folder(checkpoint.folder_of(self.config.experiment, self.interim))
            self.interim = None

    def restore(self, saved):
        """Take step and moments from a checkpoint; the weights came with the model.

        UserError where the samples are not those that it was trained on.
        """
        present = self.samples.n_captions
        n_samples = saved.state.get("n_samples", present)
        if n_samples != present:
            raise UserError(
                f"{saved.folder} was trained on {n_samples} captions, and now there are {present}: the media "
                f"of {', '.join(self.config.sources)} or their descriptors have changed, so train anew, without "
                "--resume"
            )
        self.step = saved.state["step"]
        self.losses_since_save = saved.state.get("losses_since_save") or []
        self.interim = self.step if self.losses_since_save else None  # a checkpoint that was due has reported them all
        checkpoint.load_optimizer(saved.folder, self.optimizer, self.model)


def locked(config, distribution=ALONE):
    """Context manager: no other process trains in the experiment's folder meanwhile, but workers for their chief.

    UserError where one does, and where the folder is that of a published captioner.
    """
    if Path(config.experiment, MODEL_CARD).exists():
        raise UserError(f"{config.experiment} holds a published captioner ({MODEL_CARD}): name another --experiment")
    if not distribution.is_chief:
        return contextlib.nullcontext()
    return files.locked(config.experiment, "a captioner is trained in it")


def start(config, distribution=ALONE):
    """A new Trainer: vocabulary from the training split, initial weights from the seed."""
    cnn.grid_shape(config.cnn, config.saliency_input_size)  # stage 3 would find that it does not fit, hours later
    media = annotations.read_media(config)
    stored = store.Store(config)
    train = stored.usable(annotations.captioned(annotations.split_media(media, "train")))
    captions = [caption for medium in train for caption in medium.captions]
    vocabulary = data_loader.Vocabulary.of_captions(captions, config.word_count_threshold)
    vocabulary.related = related_words.related_words(captions, vocabulary.words[1:])
    dim_image = stored.load(train[0].id).shape[-1]
    with distribution.scope():
        model = checkpoint.build_model(config, vocabulary, dim_image, vocabulary.output_bias(captions))
    trainer = Trainer(config, vocabulary, model, media, distribution)
    trainer.check_workers()
    if distribution.is_chief:
        remove_experiment(config.experiment)  # only now: a wrong argument has cost nothing
    return trainer


def resume(config, assignments, distribution=ALONE):
    """The Trainer as the last checkpoint of `config.experiment` left it, with --set `assignments` applied."""
    steps = checkpoint.steps(config.experiment)
    if not steps:
        raise UserError(f"there is no checkpoint in {config.experiment} to resume from: leave out --resume")
    folder = checkpoint.folder_of(config.experiment, steps[-1])
    if not (folder / "optimizer.npz").exists():
        raise UserError(f"{folder} has no optimizer.npz, as an exported one: train anew in another --experiment")
    with distribution.scope():
        saved = checkpoint.load(folder, assignments, RESUME_SETTINGS)
    saved.check_dataset(config.dataset)
    if config.more_sources not in (None, saved.config.more_sources):
        raise UserError(f"{folder} was trained on {' '.join(saved.config.sources)}: --resume takes no others")
    before = checkpoint.load_config(folder)
    fixed = before.learning_rate_schedule != "constant" or before.self_critical_epochs > 0
    if fixed and saved.config.n_epochs != before.n_epochs:
        raise UserError(
            f"n_epochs={before.n_epochs} cannot be changed any more: this run has a schedule (learning_rate_schedule, "
            "self_critical_epochs) that ends there"
        )
    if distribution.is_chief:
        files.remove_partials(config.experiment)
    saved.config = dataclasses.replace(saved.config, experiment=config.experiment)
    saved.check_descriptors()
    media = annotations.read_media(saved.config)
    trainer = Trainer(saved.config, saved.vocabulary, saved.model, media, distribution)
    trainer.restore(saved)
    trainer.check_workers()
    return trainer


def remove_experiment(experiment):
    """Remove what an earlier --train left in the experiment's folder, and nothing else."""
    for step in checkpoint.steps(experiment):
        files.remove_folder(checkpoint.folder_of(experiment, step))
    for path in Path(experiment).glob("model-*.json"):  # the predictions of --test
        if PREDICTIONS.fullmatch(path.name):
            path.unlink()
    for pattern in (
        "loss.tsv",
        "scores.txt",
        "saliency_scores*.json",
        "saliency_scores*.jsonl",
        "saliency_examples*.png",
    ):
        for path in Path(experiment).glob(pattern):
            path.unlink()
    shutil.rmtree(Path(experiment, "tensorboard"), ignore_errors=True)
    files.remove_partials(experiment)


def remove_surplus(experiment, max_to_keep):
    """Keep the last `max_to_keep` checkpoints, and the best on validation."""
    steps = checkpoint.steps(experiment)
    for step in set(steps[:-max_to_keep]) - {checkpoint.best_step(experiment)}:
        files.remove_folder(checkpoint.folder_of(experiment, step))


class LossTable:
    """`loss.tsv`: checkpoint, train, validation. Rows beyond step `up_to`, which a killed run lost, are dropped."""

    HEADER = "checkpoint\ttrain\tvalidation\n"
    ROW = re.compile(r"(\d{1,15})\t.*\n", re.ASCII)

    def __init__(self, path, up_to):
        self.path = path
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        matches = map(self.ROW.fullmatch, text.splitlines(keepends=True))
        self.rows = [match[0] for match in matches if match and int(match[1]) <= up_to]

    def append(self, step, train_loss, validation_loss):
        """Add a row and write the table anew."""
        self.rows.append(f"{step}\t{train_loss:.6f}\t{validation_loss:.6f}\n")
        files.write_text(self.path, self.HEADER + "".join(self.rows))


@contextlib.contextmanager
def interrupt_flag():
    """Yields a list that is no longer empty once Ctrl-C (or SIGTERM) came; a second one interrupts at once.

    An exception in the middle of a step could leave weights that belong to no step.
    """
    caught = []

    def remember(number, _frame):
        caught.append(number)
        signal.signal(number, signal.default_int_handler)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train(trainer):
    """Train to the last epoch, with checkpoints, loss table and scalars -> the number of the best checkpoint.

    Of several workers the chief alone writes; the others give None. KeyboardInterrupt after Ctrl-C, here or at another
    worker, when the checkpoint of the last whole step has been written.
    """
    config, experiment = trainer.config, Path(trainer.config.experiment)
    distribution, is_chief = trainer.distribution, trainer.distribution.is_chief
    loss_table = LossTable(experiment / "loss.tsv", up_to=trainer.step)
    scalars = tf.summary.create_noop_writer()
    if is_chief:
        experiment.mkdir(parents=True, exist_ok=True)
        if trainer.step:  # a run that was killed after its last checkpoint left those before it
            remove_surplus(experiment, config.max_to_keep)
        scalars = tf.summary.create_file_writer(str(experiment / "tensorboard"))
    total, done = trainer.last_step, trainer.step
    progress = tqdm(total=total, initial=done, unit="step", desc="train", disable=not is_chief)
    with interrupt_flag() as interrupted, scalars.as_default(), progress:
        for _ in trainer.run():
            progress.update()
            if trainer.is_due(trainer.step):
                train_loss = float(np.mean(trainer.losses_since_save))
                validation_loss = trainer.validation_loss()
                trainer.check_sound(abs(validation_loss) < self_critical.MOST_LOSS)
                trainer.check_sound(all(map(checkpoint.is_sound, trainer.model.reference_weights().values())))
                trainer.losses_since_save = []
                if is_chief:
                    loss_table.append(trainer.step, train_loss, validation_loss)
                trainer.save(train_loss=train_loss, validation_loss=validation_loss)
                if is_chief:
                    remove_surplus(experiment, config.max_to_keep)
                tf.summary.scalar("loss/train", train_loss, trainer.step)
                tf.summary.scalar("loss/validation", validation_loss, trainer.step)
                progress.set_postfix(train=f"{train_loss:.3f}", validation=f"{validation_loss:.3f}")
            if distribution.any(interrupted):
                if not trainer.is_due(trainer.step):
                    trainer.save()
                raise KeyboardInterrupt
    return checkpoint.best_step(experiment) if is_chief else None
