"""The shapes of the HTTP API. The dashboard's types are generated from them (`python -m tracker.server.openapi`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .limits import MAX_BUCKETS, MAX_DIGESTS

RunState = Literal["running", "finished", "failed", "killed", "crashed", "preempted"]

# Nested JSON; `{"$float": "nan"}` and `{"$int": "..."}` stand where JSON has no number.
Values = dict[str, Any]


class Error(BaseModel):
    """What went wrong, in one sentence, and what to do."""

    detail: str


class Health(BaseModel):
    """The server is up."""

    status: Literal["ok"]
    version: str
    mode: Literal["ui", "server"]


class Project(BaseModel):
    """A project and its runs, counted by state."""

    entity: str
    project: str
    runs: int
    states: dict[str, int]
    last_activity_ns: int | None


class ConsoleLine(BaseModel):
    """A line that a program of the run has printed."""

    stream: str
    number: int = Field(description="Its place among the lines of its process; a gap is what was left out.")
    time_ns: int
    source: str = Field(description="stdout, stderr, or console where both went to one place.")
    text: str = Field(description="Without the newline; colours as the program gave them.")
    level: str | None = Field(description="Of the log record it shows.")
    logger: str | None
    rank: int | None


class Console(BaseModel):
    """A part of what was printed, in order of time."""

    total: int = Field(description="Lines that match.")
    left_out: int = Field(description="Lines of the run that were printed and not kept.")
    mark: int = Field(description="Give it as `after` to learn what came, or changed, since.")
    lines: list[ConsoleLine]


class Projects(BaseModel):
    """All projects, the last active first."""

    projects: list[Project]


class Metric(BaseModel):
    """A key that some run of the project has logged."""

    key: str
    runs: int = Field(description="Runs that have it.")
    points: int
    numeric: bool
    last_step: float | None
    x: str | None = Field(description="The step metric asked for by `define_metric`.")
    hidden: bool = Field(description="Asked by `define_metric` to be left out of the automatic charts.")


class Metrics(BaseModel):
    """The metrics of a project, by key."""

    metrics: list[Metric]


class Run(BaseModel):
    """A run as lists show it."""

    path: str = Field(description="`entity/project/id`, each part percent-encoded.")
    id: str
    entity: str
    project: str
    name: str
    state: RunState
    created_ns: int | None
    updated_ns: int | None
    ended_ns: int | None
    duration_s: float | None
    group: str | None
    job_type: str | None
    tags: list[str]
    notes: str | None
    host: str | None
    config: Values
    summary: Values
    last_step: float | None
    points: int
    color: str | None


class Runs(BaseModel):
    """A page of runs; `total` counts all that match."""

    total: int
    runs: list[Run]


class Stream(BaseModel):
    """One writing process of a run."""

    id: str
    acked: int = Field(description="The last sequence number applied.")
    updated_ns: int | None = None
    host: str | None = None
    pid: int | None = None


class Alert(BaseModel):
    """What `run.alert` said."""

    time_ns: int
    title: str
    text: str
    level: str


class Definition(BaseModel):
    """What `define_metric` asked for."""

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: list[str] | None = None
    goal: str | None = None


class Exit(BaseModel):
    """How the run ended."""

    time_ns: int | None = None
    state: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    traceback: str | None = None
    signal: str | None = None


class RunDetail(Run):
    """A run with what only its own page shows."""

    streams: list[Stream]
    alerts: list[Alert]
    metrics: list[Definition]
    exit: Exit | None
    fields: Values = Field(description="What else the run told of itself: pid, program, ...")
    lost: int = Field(description="Records that were dropped, or could not be read.")
    trashed: bool
    system_metrics: Values = Field(description="The last sample of the machine, by key.")
    environment: Values = Field(description="What it told of its machine, its packages and its code.")


class NamedFile(BaseModel):
    """A file that a run has kept under a name."""

    name: str
    digest: str
    size: int
    kind: str
    time_ns: int
    more: Values = Field(description="What else is known of it: mode, redacted, ...")


class NamedFiles(BaseModel):
    """The named files of a run, sorted."""

    files: list[NamedFile]


class RunPatch(BaseModel):
    """What to change of a run; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=1000)
    notes: str | None = Field(None, max_length=100_000)
    tags: list[str] | None = Field(None, max_length=1000)
    group: str | None = Field(None, max_length=1000)
    config: Values | None = Field(None, description="Merged into the config, nested values too.")
    summary: Values | None = None


class SeriesRequest(BaseModel):
    """Which lines, over which range, in how many buckets."""

    model_config = ConfigDict(extra="forbid")

    runs: list[str] = Field(description="Run paths.", min_length=1)
    keys: list[str] = Field(min_length=1)
    x: str = Field("_step", description="`_step`, `_time`, `_runtime` or a key.")
    range: tuple[float, float] | None = None
    buckets: int = Field(1000, ge=1, le=MAX_BUCKETS)
    log_x: bool = False


class Acked(BaseModel):
    """The highest contiguous sequence number that the server has committed."""

    acked: int


class Trashed(BaseModel):
    """The run is in the trash; `restore` is the route that brings it back."""

    path: str
    restore: str


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Digests(BaseModel):
    """Blobs, by what their bytes are."""

    model_config = ConfigDict(extra="forbid")

    digests: list[Digest] = Field(max_length=MAX_DIGESTS)


class Missing(BaseModel):
    """Blobs that are not kept."""

    missing: list[str]


class Held(BaseModel):
    """How far a blob has come."""

    held: int = Field(description="Bytes that are here: where the next piece begins.")
    complete: bool = Field(description="Whether it is whole, checked and kept.")
