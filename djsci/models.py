"""What is stored: files and their versions, runs and their logs, tokens, executors."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from shortuuid.django_fields import ShortUUIDField

from djsci.core.events import LIVE

_APPEND_ONLY = "Audit rows are append-only."


class PrivateFile(models.Model):
    """A file: a name, a short uuid, an owner, and versions of its content.

    `file` is the way in of the first release and of plain FileField users: what it holds becomes
    a version when that is first needed.
    """

    class Access(models.TextChoices):
        PRIVATE = "private", "owner and grants"
        AUTHENTICATED = "authenticated", "signed-in users"

    id = ShortUUIDField(primary_key=True)
    file = models.FileField(upload_to="private_files", default=None, blank=True, null=True)
    name = models.TextField(unique=True, default=None, blank=True, null=True)
    filetype = models.TextField(default=None, blank=True, null=True)
    notes = models.TextField(default=None, blank=True, null=True)
    metadata = models.JSONField(default=None, blank=True, null=True)

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    access = models.CharField(max_length=16, choices=Access.choices, default=Access.PRIVATE)
    granted_users = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="djsci_files"
    )
    granted_groups = models.ManyToManyField(Group, blank=True, related_name="djsci_files")
    settings = models.JSONField(default=dict, blank=True)
    version = models.ForeignKey(
        "Version", models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    trusted_version = models.ForeignKey(
        "Version", models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    read_from = models.TextField(default="", blank=True, editable=False)
    created = models.DateTimeField(auto_now_add=True, null=True)
    changed = models.DateTimeField(auto_now=True, null=True)

    class Meta:
        permissions = (("run_privatefile", "Can run private file"),)

    def __str__(self) -> str:
        return self.name or self.pk

    @property
    def is_trusted(self) -> bool:
        """Whether a superuser trusts exactly the present version."""
        return self.trusted_version_id is not None and self.trusted_version_id == self.version_id


class Version(models.Model):
    """One immutable manifest of a file, `{entry, files: {name: sha256}}`, known by its SHA-256."""

    file = models.ForeignKey(PrivateFile, models.CASCADE, related_name="versions")
    sha256 = models.CharField(max_length=64)
    manifest = models.JSONField()
    kind = models.CharField(max_length=8)
    parameters = models.JSONField(default=dict)
    has_handler = models.BooleanField(default=True)
    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(fields=("file", "sha256"), name="djsci_version_once"),
        )

    def __str__(self) -> str:
        return f"{self.entry} {self.sha256[:12]}"

    @property
    def entry(self) -> str:
        """The name of the file that runs."""
        return str(self.manifest["entry"])

    @property
    def adapter(self) -> str:
        """How the entry is read; versions of before there were adapters have a handler, or none."""
        return str(self.manifest.get("adapter") or ("handler" if self.has_handler else "notebook"))

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of the entry and of each companion, by name."""
        return dict(self.manifest["files"])


class Executor(models.Model):
    """A process that executes runs. Host, boot, pid namespace and start time tell if it lives."""

    id = models.UUIDField(primary_key=True)
    host = models.CharField(max_length=255)
    boot = models.CharField(max_length=64)
    pid_namespace = models.CharField(max_length=64)
    pid = models.PositiveIntegerField()
    process_started = models.BigIntegerField()
    version = models.CharField(max_length=32)
    queues = models.JSONField(default=list)
    slots = models.PositiveIntegerField()
    busy = models.PositiveIntegerField(default=0)
    seen = models.DateTimeField()
    is_draining = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Run(models.Model):
    """One call of one handler, from admission to its `end`. Only the holder of `lease` writes."""

    id = ShortUUIDField(primary_key=True)
    file = models.ForeignKey(PrivateFile, models.CASCADE, related_name="runs")
    file_id: str
    version = models.ForeignKey(Version, models.RESTRICT, related_name="runs")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    token = models.ForeignKey(
        "Token", models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    trigger = models.CharField(max_length=16)
    engine = models.CharField(max_length=16)
    isolation = models.CharField(max_length=16)
    parameters = models.JSONField(default=dict)
    request = models.TextField(default="")  # HandlerRequest as JSON; large ones: a blob's reference
    timeout = models.FloatField()
    memory = models.BigIntegerField()
    retries = models.PositiveSmallIntegerField(default=0)

    state = models.CharField(max_length=16, default="queued")
    created = models.DateTimeField()
    started = models.DateTimeField(null=True, blank=True)
    ended = models.DateTimeField(null=True, blank=True)
    elapsed = models.FloatField(null=True, blank=True)
    reason = models.TextField(default="", blank=True)
    abandoned = models.BooleanField(default=False)
    result = models.TextField(null=True, blank=True)  # JSON text
    result_ref = models.CharField(max_length=64, default="", blank=True)  # a blob's SHA-256
    result_size = models.BigIntegerField(default=0)
    http = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)

    head = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    pruned = models.BooleanField(default=False)

    queue = models.CharField(max_length=64, default="default")
    executor = models.ForeignKey(  # of an ended run it may be gone: nobody looks through all runs
        Executor,
        models.DO_NOTHING,
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
        related_name="runs",
    )
    lease = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    starts = models.PositiveIntegerField(default=0)
    cancel = models.CharField(max_length=8, default="", blank=True)  # "", "asked", "forced"
    deadline = models.DateTimeField(null=True, blank=True)
    rung_at = models.DateTimeField(null=True, blank=True)
    rings = models.PositiveIntegerField(default=0)
    format = models.PositiveSmallIntegerField(default=1)

    key = models.CharField(max_length=255, null=True, blank=True)
    key_digest = models.CharField(max_length=64, default="", blank=True)

    class Meta:
        indexes = (
            models.Index(fields=("state", "queue", "created"), name="djsci_run_queue"),
            models.Index(
                fields=("executor",), name="djsci_run_executor", condition=Q(state__in=LIVE)
            ),
            models.Index(
                fields=("lease_until",), name="djsci_run_lease", condition=Q(state__in=LIVE)
            ),
            models.Index(
                fields=("ended",), name="djsci_run_ended", condition=Q(ended__isnull=False)
            ),
            models.Index(
                fields=("ended",),
                name="djsci_run_logged",
                condition=Q(ended__isnull=False, pruned=False),
            ),
            models.Index(
                fields=("created",), name="djsci_run_keyed", condition=Q(key__isnull=False)
            ),
            models.Index(fields=("user", "state"), name="djsci_run_user"),
            models.Index(fields=("file", "state"), name="djsci_run_file"),
            models.Index(fields=("file", "created", "id"), name="djsci_run_recent"),
            models.Index(fields=("created", "id"), name="djsci_run_created"),
        )
        constraints = (
            models.UniqueConstraint(fields=("user", "file", "key"), name="djsci_run_key"),
        )

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_final(self) -> bool:
        """Whether the run has ended; nothing changes any more."""
        return self.state not in LIVE


class Tally(models.Model):
    """How often something has happened on this site: it never falls, whatever is removed."""

    name = models.CharField(max_length=64, primary_key=True)
    count = models.BigIntegerField(default=0)
    changed = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} {self.count}"


class LogRow(models.Model):
    """Events `first` to `last` of a run, one event's JSON a line."""

    run = models.ForeignKey(Run, models.CASCADE, db_index=False, related_name="log")
    run_id: str
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    created = models.DateTimeField()
    bytes = models.BigIntegerField()
    data = models.TextField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "last"), name="djsci_log_order"),)

    def __str__(self) -> str:
        return f"{self.run_id} {self.first}-{self.last}"


class Token(models.Model):
    """A secret that stands for a user on the API; only its SHA-256 digest is stored."""

    id = ShortUUIDField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="djsci_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    files = models.ManyToManyField(PrivateFile, blank=True, related_name="+")
    is_limited_to_files = models.BooleanField(default=False)
    expires = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    last_used = models.DateTimeField(null=True, blank=True, editable=False)
    revoked = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Ticket(models.Model):
    """Opens one socket to one target, within seconds; it goes when it is used."""

    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    user_id: Any
    token = models.ForeignKey(Token, models.CASCADE, null=True, blank=True, related_name="+")
    token_id: str | None
    session_key = models.TextField(default="", blank=True)
    target = models.CharField(max_length=64)
    expires = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.target


class AppendOnly(models.QuerySet[Any]):
    """Rows that are written once."""

    def update(self, **columns: Any) -> int:
        raise TypeError(_APPEND_ONLY)

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError(_APPEND_ONLY)


class Audit(models.Model):
    """Who changed a privilege or content: append-only."""

    when = models.DateTimeField(auto_now_add=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    action = models.CharField(max_length=32)
    subject = models.CharField(max_length=64)
    detail = models.JSONField(default=dict)
    address = models.CharField(max_length=64, default="", blank=True)
    token = models.CharField(max_length=22, default="", blank=True)

    objects = AppendOnly.as_manager()

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError(_APPEND_ONLY)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError(_APPEND_ONLY)
