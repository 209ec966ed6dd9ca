"""All settings of foretaste. A process reads them from the environment once, at its start.

The variable of a field is ``FORETASTE_`` and the field's name in capitals. Where a line says "also _FILE", the variable
``FORETASTE_<NAME>_FILE`` may name a file with the value, as container platforms pass secrets.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from environs import Env


def _create_setting(meaning: str, default: Any = None, *, least: float = 0) -> Any:
    """Create the field of a setting. ``least`` is the smallest value that a number may have."""
    return field(default=default, metadata={"meaning": meaning, "least": least})


def _create_quota(counted: str, default: int | None = None, *, aws: int) -> Any:
    return _create_setting(f"maximum number of {counted}; empty: no limit (AWS: {aws})", default)


def _create_rate(called: str, *, aws: str) -> Any:
    return _create_setting(f"how often an access key may call {called}, as 100/second; empty: no limit (AWS: {aws})")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a process. ``docs/settings.md`` is generated from this table."""

    data_dir: Path = _create_setting("folder for all data on disk", Path("foretaste-data"))
    redis_url: str = _create_setting(
        "URL of Redis or Valkey; rediss:// for TLS, which verifies the certificate; also _FILE",
        "redis://127.0.0.1:6379/0",
    )
    redis_ca_file: Path | None = _create_setting(
        "CA certificates (PEM) that verify the certificate of a rediss:// server (default: those of the system)"
    )
    region: str = _create_setting("AWS Region in every ARN", "us-east-1")
    account_id: str = _create_setting("AWS account id in every ARN, 12 digits", "000000000000")

    access_key_id: str | None = _create_setting("access key that clients sign with; also _FILE")
    secret_access_key: str | None = _create_setting("secret of that key; also _FILE")
    unsigned: bool = _create_setting("accept requests without a signature", False)

    bind: str = _create_setting("address of an HTTP process: host:port, or fd://N", "127.0.0.1:8000")
    threads: int = _create_setting("request threads of an HTTP process", 8)
    api_url: str = _create_setting("URL at which the gateway reaches the API service", "http://127.0.0.1:8001")
    runtime_url: str = _create_setting("URL at which the gateway reaches the runtime service", "http://127.0.0.1:8002")
    events_url: str = _create_setting("URL at which the gateway reaches the events service", "http://127.0.0.1:8003")

    gateway_head_seconds: float = _create_setting(
        "seconds that the gateway waits for the whole head of a request", 10.0
    )
    gateway_body_seconds: float = _create_setting(
        "seconds that the gateway waits for the whole body of a request", 30.0
    )
    gateway_idle_seconds: float = _create_setting(
        "seconds after which the gateway closes a connection without a request", 75.0
    )
    gateway_connections: int = _create_setting("maximum number of clients' connections to the gateway", 4096, least=1)
    gateway_connections_per_peer: int = _create_setting(
        "maximum number of connections from one peer (an IPv4 address, an IPv6 /64); for one more, the gateway closes"
        " the one that has waited longest",
        3072,
        least=1,
    )
    gateway_bodies_mb: int = _create_setting(
        "memory that the bodies of all requests in the gateway may take, MiB", 256, least=1
    )
    gateway_calls: int = _create_setting(
        "maximum number of calls that the gateway sends to each service at once; further calls wait", 32, least=1
    )
    gateway_waiting: int = _create_setting(
        "maximum number of calls that wait for each service; further calls are refused with 503", 512
    )

    storage: str = _create_setting("storage behind s3:// locations: 'folder' or 's3'", "folder")
    s3_folder: Path | None = _create_setting("folder with a sub-folder for each bucket (default: <data_dir>/s3)")
    buckets: Mapping[str, Path] = field(
        default_factory=dict, metadata={"meaning": "further buckets, mounted read-only: NAME=PATH,NAME=PATH"}
    )
    s3_endpoint_url: str | None = _create_setting("S3 endpoint for storage 's3' (default: AWS's own)")
    redis_max_memory_mb: int = _create_setting(
        "maxmemory of the Redis that `foretaste up` or compose.yaml runs, MiB; above 95 % of it writes are refused;"
        " 0: no limit",
        0,
    )
    min_free_mb: int = _create_setting(
        "minimum free space, MiB: with less on the disk of the Redis that `foretaste up` or compose.yaml runs, writes"
        " are refused, and /readyz reports it; with less on the disk of artifacts, only /readyz reports it; 0: off",
        256,
    )
    artifacts_dir: Path | None = _create_setting("folder for imported data and models (default: <data_dir>/artifacts)")

    recipes: str = _create_setting(
        "further packages with recipes, separated by commas, declared as in shared/recipes; installed or on PYTHONPATH",
        "",
    )
    import_memory_mb: int = _create_setting(
        "memory for one import, or for reading the data of one training or of filters, MiB", 1024
    )
    batch_memory_mb: int = _create_setting(
        "memory for the users that a batch job scores at once, MiB, beside the model", 512, least=1
    )
    import_unreadable_share: float = _create_setting(
        "share of an import's rows that may have an empty or unreadable cell in a column other than an id or TIMESTAMP;"
        " such cells become null and are reported, and the job goes on (of few rows: a tenth, at most ten); 0: none, as"
        " at AWS",
        0.01,
    )
    export_file_mb: int = _create_setting("size of the files that an export writes, MiB", 500, least=1)
    data_deletion_mb: int = _create_setting(
        "maximum size of the files that name the users of a data deletion job, all together, MiB (AWS: 100)",
        100,
        least=1,
    )
    live_events_most: int = _create_setting(
        "live events of a dataset in Redis from which a worker moves them to files", 100_000, least=1
    )
    live_events_age: float = _create_setting(
        "seconds after which live events are moved from Redis to files, however few they are", 86_400.0, least=1
    )
    training_threads: int = _create_setting("threads of one training; 0: as many as the cgroup allows", 0)
    retrain_on_all_users: bool = _create_setting("after evaluation, train the deployed model on all users", True)
    training_cell: Literal["linear", "gru"] = _create_setting(
        "recurrent cell of the HRNN recipes: gated linear recurrence, or the classic GRU", "linear"
    )
    training_precision: Literal["auto", "32-true", "bf16-mixed"] = _create_setting(
        "number format of a training; auto: bf16-mixed on a GPU that supports it, else 32-true, except for large"
        " products, which use bfloat16 on a CPU with instructions for it",
        "auto",
    )
    training_compile: bool = _create_setting("train with torch.compile, which needs a C++ compiler", False)
    training_logger: Literal["none", "csv", "tensorboard"] = _create_setting(
        "format of the log of a training's losses, in the folder logs of the model; tensorboard is an extra", "none"
    )
    training_sentence_encoder: str = _create_setting(
        "what turns texts into vectors for aws-semantic-similarity: empty for what it learns from the texts themselves,"
        " all-MiniLM-L6-v2 for the encoder of the extra sentence, or a folder with model.onnx and tokenizer.json",
        "",
    )
    training_strategy: Literal["auto", "ddp"] = _create_setting(
        "auto: a training runs on one device; ddp: on training_devices of each of training_num_nodes, with a process"
        " per device, by Lightning's strategy of that name (HRNN recipes only)",
        "auto",
    )
    training_devices: int = _create_setting(
        "GPUs per node of one training with ddp, or processes where there is no GPU; 0: all GPUs", 1
    )
    training_num_nodes: int = _create_setting(
        "machines of one training with ddp; all need the same artifacts_dir, settings and number of devices", 1
    )
    training_node_rank: int = _create_setting(
        "rank, from 1, of a further node, which runs `python -m workers.training.node`; training workers run on node 0",
        0,
    )
    training_master: str | None = _create_setting(
        "host:port of node 0 where the processes of several nodes meet; use a private network"
    )
    training_jobs_per_device: int = _create_setting("trainings that may share one GPU", 1)
    checkpoint_seconds: float = _create_setting(
        "seconds between checkpoints of a training; it also saves one after each epoch", 60.0
    )

    automl_training_jobs: int = _create_setting("trainings of one AutoML run, over all its recipes", 12)
    automl_parallel_jobs: int = _create_setting("AutoML trainings that run at once", 10)
    hpo_objective: bool = _create_setting(
        "use hpoObjective's metricName and type; AWS accepts them without effect", False
    )

    auto_training: bool = _create_setting(
        "train solutions with performAutoTraining (true by default) on their schedules",
        False,
    )

    batch_shard_lines: int = _create_setting(
        "lines of a batch job's input that one inference worker answers at a time; other workers answer other lines",
        2000,
        least=1,
    )

    theme_generator: str = _create_setting(
        "function that creates the generator of themes for batch inference jobs, as module:function; see"
        " docs/user/batch-segments.md",
        "shared.serving.keyword_themes:KeywordThemes",
    )

    child_idle_seconds: float = _create_setting(
        "seconds that a worker keeps an idle job process for the next job", 60.0
    )
    lease_seconds: float = _create_setting("seconds without a heartbeat after which a worker loses its job", 15.0)
    import_silence_seconds: float = _create_setting(
        "seconds without progress (nothing read, sorted or written) after which an import, or a compaction of live"
        " events, is killed and started again",
        600.0,
    )
    export_silence_seconds: float = _create_setting(
        "seconds without progress (nothing read, sorted or written) after which an export is killed and started again",
        600.0,
    )
    data_deletion_silence_seconds: float = _create_setting(
        "seconds without progress (nothing read or written) after which a deletion of users is killed and continued",
        600.0,
    )
    training_silence_seconds: float = _create_setting(
        "seconds without progress (no batch, no block of data) after which a training is killed and continued", 900.0
    )
    trial_silence_seconds: float = _create_setting(
        "seconds without progress after which a trial of HPO or AutoML is killed and continued", 900.0
    )
    batch_silence_seconds: float = _create_setting(
        "seconds without progress (no line read, answered or written) after which a batch job is killed and continued",
        600.0,
    )
    tuning_silence_seconds: float = _create_setting(
        "seconds after which a step of HPO or AutoML counts as hung and its worker is restarted", 300.0
    )
    deploy_silence_seconds: float = _create_setting(
        "seconds without progress after which another runtime loads a model", 600.0
    )
    ring_after_seconds: float = _create_setting(
        "seconds after which a job that no worker took is announced again", 10.0
    )
    resend_after_seconds: float = _create_setting(
        "seconds after which a message that is not known to be sent is sent again", 2.0
    )
    max_attempts: int = _create_setting("attempts after which a job whose process dies or hangs fails", 3)
    deletion_seconds: float = _create_setting(
        "seconds that a deleted resource shows DELETE PENDING, as at AWS; 0: it is gone at once", 2.0
    )
    deploy_deadline_seconds: float = _create_setting("seconds after which a campaign that no runtime took fails", 600.0)

    # AWS's quotas. Those of jobs, which share workers, are on; those of other resources are off.
    quota_schemas: int | None = _create_quota("schemas", aws=500)
    quota_dataset_groups: int | None = _create_quota("dataset groups", aws=5)
    quota_solutions: int | None = _create_quota("solutions of a dataset group", aws=10)
    quota_campaigns: int | None = _create_quota("campaigns of a dataset group", aws=5)
    quota_recommenders: int | None = _create_quota("recommenders of a dataset group", aws=5)
    quota_filters: int | None = _create_quota("filters of a dataset group", aws=30)
    quota_pending_dataset_import_jobs: int | None = _create_quota("dataset import jobs that have not ended", 5, aws=5)
    quota_pending_solution_versions: int | None = _create_quota(
        "solution versions whose training has not ended", 20, aws=20
    )
    quota_pending_batch_inference_jobs: int | None = _create_quota("batch inference jobs that have not ended", 5, aws=5)
    quota_pending_batch_segment_jobs: int | None = _create_quota("batch segment jobs that have not ended", 5, aws=5)
    quota_pending_data_deletion_jobs: int | None = _create_quota(
        "data deletion jobs of a dataset group that have not ended", 5, aws=5
    )

    quota_batch_input_files: int | None = _create_quota("input files of a batch job", aws=1000)
    quota_batch_input_mb: int | None = _create_quota("MiB of a batch job's input files", aws=1024)
    quota_theme_lines: int | None = _create_quota(
        "lines of an input file of a batch inference job with themes", 100, aws=100
    )
    quota_segment_item_lines: int | None = _create_quota(
        "lines of a batch segment job's input that name an item", 500, aws=500
    )
    quota_segment_attribute_lines: int | None = _create_quota(
        "lines of a batch segment job's input that name attributes", 10, aws=10
    )
    quota_batch_input_records: int | None = _create_quota("lines of a batch job's input files", aws=50_000_000)
    quota_full_import_gb: int | None = _create_quota("GiB of the files of an import in mode FULL", aws=100)
    quota_incremental_import_gb: int | None = _create_quota("GiB of the files of an import in mode INCREMENTAL", aws=1)
    import_min_interactions: int = _create_setting(
        "minimum number of rows, without duplicates, of an import of interactions (AWS: 1000)", 1000
    )
    quota_metric_attribution_sources: int | None = _create_quota(
        "sources that a metric attribution tells apart; events of further ones count as SOURCE_LIMIT_EXCEEDED",
        100,
        aws=100,
    )

    rate_limit_control: str | None = _create_rate("the control plane", aws="not published")
    rate_limit_runtime: str | None = _create_rate("the runtime", aws="2500/second, 500/second of a campaign")
    rate_limit_events: str | None = _create_rate(
        "PutEvents and PutActionInteractions", aws="1000/second of a dataset group"
    )
    rate_limit_records: str | None = _create_rate(
        "PutItems, PutUsers and PutActions", aws="10/second of a dataset group"
    )

    metrics_bind: str | None = _create_setting(
        "address (host:port) where a process answers /metrics, /healthz and /readyz, unsigned; api, runtime and events"
        " answer them at their own address too"
    )
    tracing: bool = _create_setting(
        "send traces by OpenTelemetry (an extra) to the collector that its own variables (OTEL_*) name", False
    )
    log_level: str = _create_setting("debug, info, warning or error", "info")

    @property
    def bucket_root(self) -> Path:
        return self.s3_folder or self.data_dir / "s3"

    @property
    def artifacts(self) -> Path:
        return self.artifacts_dir or self.data_dir / "artifacts"

    @property
    def keys(self) -> Mapping[str, str] | None:
        """Access key id -> secret; None when unsigned requests are accepted.

        Raises SettingsError when there are no keys and unsigned is not set, or is set on an address that other
        machines can reach.
        """
        if self.unsigned:
            if not _is_private(self.bind):
                raise SettingsError(
                    f"FORETASTE_BIND={self.bind} can be reached from other machines, and FORETASTE_UNSIGNED=true would "
                    "let all of them in: unset it and set keys, or bind to 127.0.0.1"
                )
            return None
        if not (self.access_key_id and self.secret_access_key):
            raise SettingsError(
                "no keys: set FORETASTE_ACCESS_KEY_ID and FORETASTE_SECRET_ACCESS_KEY (`foretaste up` makes a pair), "
                "or set FORETASTE_UNSIGNED=true to accept unsigned requests"
            )
        return {self.access_key_id: self.secret_access_key}


def _is_private(bind: str) -> bool:
    """Tell whether an address is loopback, a Unix socket, or a socket that the supervisor holds (and has checked)."""
    if bind.startswith(("fd://", "unix:")):
        return True
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SettingsError(ValueError):
    """A setting is missing or unusable; the message names it and says what to do."""


SECRETS = frozenset({"redis_url", "access_key_id", "secret_access_key"})

#: Variables of libraries that hold the path of a file or folder.
LIBRARY_PATHS = (
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
)


def load() -> Settings:
    """Read the settings from the environment. Raises SettingsError naming the variable."""
    env = Env(prefix="FORETASTE_")
    kinds = get_type_hints(Settings)
    read = {f.name: _read_setting(env, f.name, kinds[f.name], f.default) for f in fields(Settings)}
    for f in fields(Settings):
        number = read[f.name]
        if isinstance(number, int | float) and number < f.metadata["least"]:
            raise SettingsError(f"FORETASTE_{f.name.upper()}: {number} is less than {f.metadata['least']}")
    return Settings(**{**read, "redis_url": _verify_tls_url(read["redis_url"], read["redis_ca_file"])})


def _verify_tls_url(redis_url: str, ca_file: Path | None) -> str:
    """Return the URL of a TLS server with the verification of its certificate, in words that redis-py and kombu read.

    By default kombu does not verify it. Raises SettingsError if the URL turns the verification off.
    """
    address = urlsplit(redis_url)
    if address.scheme != "rediss":
        return redis_url
    given = dict(parse_qsl(address.query))
    required = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
    for name, value in required.items():
        if given.get(name, value).lower() not in (value, "cert_required"):
            raise SettingsError(
                f"FORETASTE_REDIS_URL says {name}={given[name]}, but a rediss:// server is always verified: leave it "
                "out, and give the CA certificate, or the server's own, by FORETASTE_REDIS_CA_FILE"
            )
    if ca_file:
        if not ca_file.is_file():
            raise SettingsError(f"FORETASTE_REDIS_CA_FILE: {ca_file} is no file")
        required["ssl_ca_certs"] = str(ca_file.absolute())
    return urlunsplit(address._replace(query=urlencode({**given, **required}, safe="/")))


def make_paths_absolute(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with absolute paths, for a process that runs in another folder."""
    absolute = dict(environment)
    kinds = get_type_hints(Settings)
    paths = [f"FORETASTE_{name.upper()}" for name, kind in kinds.items() if kind in (Path, Path | None)]
    for name in (*paths, *(f"FORETASTE_{name.upper()}_FILE" for name in SECRETS), *LIBRARY_PATHS):
        if absolute.get(name):
            absolute[name] = str(Path(absolute[name]).absolute())
    if "PYTHONPATH" in absolute:
        # Without empty entries, which mean the current folder of a process.
        folders = (str(Path(entry).absolute()) for entry in absolute["PYTHONPATH"].split(os.pathsep) if entry)
        absolute["PYTHONPATH"] = os.pathsep.join(folders)
    return absolute


def _read_setting(env: Env, name: str, kind: Any, default: Any) -> Any:
    variable = name.upper()
    if name in SECRETS and (path := env.str(f"{variable}_FILE", None)):
        return _read_secret(variable, Path(path))
    try:
        if kind is bool:
            return env.bool(variable, default)
        if kind == int | None and env.str(variable, None) == "":
            return None
        if kind in (int, int | None):
            return env.int(variable, default)
        if kind is float:
            return env.float(variable, default)
        if kind in (Path, Path | None):
            return env.path(variable, default)
        if kind == Mapping[str, Path]:
            mounts: dict[str, str] = env.dict(variable, {})
            return {bucket: Path(folder) for bucket, folder in mounts.items()}
        return _check_choice(get_args(kind) if get_origin(kind) is Literal else (), env.str(variable, default))
    except ValueError as error:
        raise SettingsError(f"FORETASTE_{variable}: {error}") from error


def _read_secret(variable: str, path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"FORETASTE_{variable}_FILE: {path} can't be read: {error.strerror}") from error
    if not text:
        raise SettingsError(f"FORETASTE_{variable}_FILE: {path} is empty")
    return text


def _check_choice(choices: tuple[str, ...], text: str | None) -> str | None:
    if choices and text not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text
