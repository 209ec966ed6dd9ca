"""The child process of a compaction: moves the live events of a dataset from the store to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared import settings
from shared.data.arrays.histories import DataRefused
from shared.data.live_files import LiveFileWriter, WriterReplaced, remove_orphans
from shared.jobs.entrypoint import ReportProgress, WorkFailed, WorkStopped, run_jobs
from shared.observability import logging
from shared.state.messages import CompactEvents
from shared.storage.artifacts import ArtifactDamaged, Artifacts
from shared.store.redis import RedisStore


def compact_events(
    arn: str, _attempt: int, _progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: compact the live events of a dataset, and merge files that have become many."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    artifacts = Artifacts(configured.artifacts, on_block=should_stop)
    memory_mb = configured.import_memory_mb

    def stop_if_asked() -> None:
        if should_stop():
            raise WorkStopped

    remove_orphans(store, artifacts, memory_mb=memory_mb, on_step=stop_if_asked)
    try:
        with LiveFileWriter(store, artifacts, arn, memory_mb=memory_mb, on_step=stop_if_asked) as writer:
            writer.remove_garbage()
            file = writer.compact_stream()
            writer.restore_indexes()
            writer.sweep_moved_generations()
            writer.merge_small_files()
    except WriterReplaced:
        return {"events": 0}
    except (ArtifactDamaged, DataRefused) as error:
        raise WorkFailed(str(error)) from error
    return {"events": file.events if file else 0}


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "importing")
    run_jobs({CompactEvents.wire: compact_events})
