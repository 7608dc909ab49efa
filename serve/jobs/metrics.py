"""Metrics of jobs for Prometheus (docs/operations.md), exported by the process of the actor of jobs."""

from ray.util.metrics import Counter, Gauge


class JobMetrics:
    """Count the jobs and webhooks of one Serve application.

    Args:
        application: value of the label ``application``.
    """

    def __init__(self, application: str) -> None:
        self._unfinished = Gauge(
            "skinserve_jobs_unfinished", description="jobs that are queued or running", tag_keys=_KEYS
        )
        self._ended = Counter(
            "skinserve_jobs_ended", description="jobs that are done, failed or deleted early", tag_keys=_KEYS
        )
        self._photos = Counter(
            "skinserve_job_photos", description="photos of jobs, by result: scored or error", tag_keys=_RESULT
        )
        self._webhooks = Counter(
            "skinserve_job_webhooks",
            description="webhooks, by result: delivered, retried or failed",
            tag_keys=_RESULT,
        )
        for metric in (self._unfinished, self._ended, self._photos, self._webhooks):
            metric.set_default_tags({"application": application})

    def set_unfinished(self, *, queued: int, running: int) -> None:
        """Set the numbers of queued and of running jobs."""
        self._unfinished.set(queued, tags={"state": "queued"})
        self._unfinished.set(running, tags={"state": "running"})

    def count_ended(self, state: str) -> None:
        """Count a job that ended: done, failed, or deleted before its end."""
        self._ended.inc(tags={"state": state})

    def count_photos(self, *, num_rows: int, num_errors: int) -> None:
        """Count the photos of a scored part; ``num_errors`` of the rows are errors."""
        for result, number in (("scored", num_rows - num_errors), ("error", num_errors)):
            if number:  # a counter rejects 0
                self._photos.inc(number, tags={"result": result})

    def count_webhook(self, result: str) -> None:
        """Count an attempt to send a webhook: delivered, retried or failed."""
        self._webhooks.inc(tags={"result": result})


_KEYS = ("application", "state")
_RESULT = ("application", "result")
