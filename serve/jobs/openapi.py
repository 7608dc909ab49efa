"""Request body, examples and errors of the routes of jobs in the OpenAPI document."""

from datetime import UTC, datetime

from serve.jobs.schemas import JobList, JobRow, JobSource, JobStatus
from serve.runtime.errors import error_responses
from serve.runtime.openapi import ANY_ROUTE, BINARY, CHOSEN_MODEL, json_response, request_body

_ARCHIVES = ("application/zip", "application/x-tar", "application/gzip")
CREATE_BODY = request_body(
    "An archive (.zip, .tar or .tar.gz) as raw body, or JSON with a folder or bucket that the operator "
    "allows (`gateway.jobs.sources`). The photos of an archive are stored until the job has ended.",
    {
        **{name: {"schema": BINARY} for name in _ARCHIVES},
        "application/json": {
            "schema": JobSource.model_json_schema(),
            "example": {"source": "s3://clinic/2026-11"},
        },
    },
)
_ID = "20261127T093000-9f86d081884c7d65"
_EXAMPLE = JobStatus(
    id=_ID,
    state="running",
    task="lesion",
    model="lesion-reference@6",
    source="s3://clinic/2026-11",
    created_at=datetime(2026, 11, 27, 9, 30, tzinfo=UTC),
    started_at=datetime(2026, 11, 27, 9, 30, 1, tzinfo=UTC),
    finished_at=None,
    photos=1000,
    scored=384,
    errors=2,
    eta_s=12.5,
    results=f"/v1/jobs/{_ID}/results",
    expires_at=None,
    error=None,
    webhook=None,
    request_id="4f2a9c",
)
_JOB = ("not_found", "jobs_unavailable", *ANY_ROUTE)
CREATE_RESPONSES = {202: json_response(_EXAMPLE)[200]} | error_responses(
    *("unreadable_archive", "too_large", "unsupported_type", "too_many_photos", "invalid_request"),
    *("jobs_unavailable", *CHOSEN_MODEL, *ANY_ROUTE),
)
LIST_RESPONSES = json_response(JobList(jobs=[_EXAMPLE])) | error_responses("invalid_request", *_JOB)
GET_RESPONSES = json_response(_EXAMPLE) | error_responses("invalid_request", *_JOB)
DELETE_RESPONSES = error_responses("invalid_request", *_JOB)
_ROW = JobRow.model_json_schema(ref_template="#/components/schemas/{model}")
_ROW.pop("$defs")
RESULTS_RESPONSES = {
    200: {
        "description": "NDJSON: one line per photo with `index`, `name` and either `result` or `error`, in "
        "the order of the archive or source; the header `X-Job-State` says whether the job has ended",
        "content": {
            "application/x-ndjson": {
                "schema": _ROW,
                "example": '{"index": 1, "name": "b.jpg", "error": {"code": "unreadable_image", "message": '
                '"the photo is empty (0 bytes); send the file itself"}}\n',
            }
        },
    },
    **error_responses("invalid_request", *_JOB),
}
