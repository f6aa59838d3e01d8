"""What a run is shown, step by step: parts of batches, and what its teacher said of them where that was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from cpd.distill.cache import Cache
from cpd.distill.engine import Engine
from cpd.distill.lesson import Lesson
from cpd.distill.settings import TrainSettings
from cpd.tasks.task import Batch, Numbered, Task


class Feed:
    """This process's share of the training images, in their order.

    Args:
        lesson: is given the teacher's answers where they are kept.
    """

    def __init__(self, task: Task, settings: TrainSettings, engine: Engine, lesson: Lesson) -> None:
        self.task, self.settings, self.engine, self.lesson = task, settings, engine, lesson
        self.per_epoch = task.steps(settings.batch_size)

    def keep_answers(self, steps: int, should_stop: Callable[[], bool]) -> bool:
        """Keep the teacher's answers where that pays in so many steps; False where the run is told to stop meanwhile.

        Whether it pays is a question of the settings alone, so that a resumed run does as the uninterrupted one.
        """
        s, limit = self.settings, int(self.settings.cache_mb * 1e6)
        teacher = self.lesson.teacher if self.lesson.asks_teacher and self.lesson.taps is None else None
        again = steps >= 2 * self.per_epoch
        if s.augment or not again or not limit or teacher is None or not isinstance(self.task, Numbered):
            return True
        cache = Cache(self.task, self.task.train_images, limit)
        finished = cache.fill(teacher, self.engine, s.batch_size, should_stop)
        self.lesson.cache = cache if cache.table is not None else None
        return finished

    def batches(self, step: int) -> Iterator[tuple[Batch, Tensor | None]]:
        """Parts of batches, for ever, from this step on; a function of the seed and the step alone. With a cache, the
        numbers of the images, too."""
        s = self.settings
        epoch, start = divmod(step, self.per_epoch)
        while True:
            rank, world = self.engine.rank, self.engine.world
            batches = self.task.train_batches(s.batch_size, s.seed, epoch, start, s.augment, rank, world)
            if self.lesson.cache is None:
                yield from ((batch, None) for batch in batches)
            else:
                numbers = self.lesson.cache.task.train_numbers(s.batch_size, s.seed, epoch, start, rank, world)
                yield from zip(batches, numbers, strict=True)
            epoch, start = epoch + 1, 0
