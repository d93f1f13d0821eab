import django.db.models.deletion
import shortuuid.django_fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Rows that were there stay open to every signed-in user; new ones are private."""

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("djsci", "0002_alter_privatefile_file"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Executor",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=255)),
                ("boot", models.CharField(max_length=64)),
                ("pid_namespace", models.CharField(max_length=64)),
                ("pid", models.PositiveIntegerField()),
                ("process_started", models.BigIntegerField()),
                ("version", models.CharField(max_length=32)),
                ("queues", models.JSONField(default=list)),
                ("slots", models.PositiveIntegerField()),
                ("busy", models.PositiveIntegerField(default=0)),
                ("seen", models.DateTimeField()),
                ("is_draining", models.BooleanField(default=False)),
            ],
        ),
        migrations.AlterModelOptions(
            name="privatefile",
            options={"permissions": (("run_privatefile", "Can run private file"),)},
        ),
        migrations.AddField(
            model_name="privatefile",
            name="access",
            field=models.CharField(
                choices=[
                    ("private", "owner and grants"),
                    ("authenticated", "signed-in users"),
                ],
                default="authenticated",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="privatefile",
            name="access",
            field=models.CharField(
                choices=[
                    ("private", "owner and grants"),
                    ("authenticated", "signed-in users"),
                ],
                default="private",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="changed",
            field=models.DateTimeField(auto_now=True, null=True),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="created",
            field=models.DateTimeField(auto_now_add=True, null=True),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="granted_groups",
            field=models.ManyToManyField(blank=True, related_name="djsci_files", to="auth.group"),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="granted_users",
            field=models.ManyToManyField(
                blank=True, related_name="djsci_files", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="read_from",
            field=models.TextField(blank=True, default="", editable=False),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="settings",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.CreateModel(
            name="Audit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("when", models.DateTimeField(auto_now_add=True)),
                ("action", models.CharField(max_length=32)),
                ("subject", models.CharField(max_length=64)),
                ("detail", models.JSONField(default=dict)),
                ("address", models.CharField(blank=True, default="", max_length=64)),
                ("token", models.CharField(blank=True, default="", max_length=22)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                (
                    "id",
                    shortuuid.django_fields.ShortUUIDField(
                        alphabet=None,
                        length=22,
                        max_length=22,
                        prefix="",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("scopes", models.JSONField(default=list)),
                ("is_limited_to_files", models.BooleanField(default=False)),
                ("expires", models.DateTimeField(blank=True, null=True)),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("last_used", models.DateTimeField(blank=True, editable=False, null=True)),
                ("revoked", models.DateTimeField(blank=True, null=True)),
                (
                    "files",
                    models.ManyToManyField(blank=True, related_name="+", to="djsci.privatefile"),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="djsci_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Version",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sha256", models.CharField(max_length=64)),
                ("manifest", models.JSONField()),
                ("kind", models.CharField(max_length=8)),
                ("parameters", models.JSONField(default=dict)),
                ("has_handler", models.BooleanField(default=True)),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "file",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="djsci.privatefile",
                    ),
                ),
                (
                    "uploader",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    shortuuid.django_fields.ShortUUIDField(
                        alphabet=None,
                        length=22,
                        max_length=22,
                        prefix="",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("trigger", models.CharField(max_length=16)),
                ("engine", models.CharField(max_length=16)),
                ("isolation", models.CharField(max_length=16)),
                ("parameters", models.JSONField(default=dict)),
                ("request", models.TextField(default="")),
                ("timeout", models.FloatField()),
                ("memory", models.BigIntegerField()),
                ("retries", models.PositiveSmallIntegerField(default=0)),
                ("state", models.CharField(default="queued", max_length=16)),
                ("created", models.DateTimeField()),
                ("started", models.DateTimeField(blank=True, null=True)),
                ("ended", models.DateTimeField(blank=True, null=True)),
                ("elapsed", models.FloatField(blank=True, null=True)),
                ("reason", models.TextField(blank=True, default="")),
                ("abandoned", models.BooleanField(default=False)),
                ("result", models.TextField(blank=True, null=True)),
                ("result_ref", models.CharField(blank=True, default="", max_length=64)),
                ("result_size", models.BigIntegerField(default=0)),
                ("http", models.JSONField(blank=True, null=True)),
                ("error", models.JSONField(blank=True, null=True)),
                ("head", models.BigIntegerField(default=0)),
                ("bytes", models.BigIntegerField(default=0)),
                ("pruned", models.BooleanField(default=False)),
                ("queue", models.CharField(default="default", max_length=64)),
                ("lease", models.PositiveIntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("starts", models.PositiveIntegerField(default=0)),
                ("cancel", models.CharField(blank=True, default="", max_length=8)),
                ("deadline", models.DateTimeField(blank=True, null=True)),
                ("rung_at", models.DateTimeField(blank=True, null=True)),
                ("rings", models.PositiveIntegerField(default=0)),
                ("format", models.PositiveSmallIntegerField(default=1)),
                ("key", models.CharField(blank=True, max_length=255, null=True)),
                ("key_digest", models.CharField(blank=True, default="", max_length=64)),
                (
                    "executor",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="runs",
                        to="djsci.executor",
                    ),
                ),
                (
                    "file",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="djsci.privatefile",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="djsci.token",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="runs",
                        to="djsci.version",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="privatefile",
            name="trusted_version",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="djsci.version",
            ),
        ),
        migrations.AddField(
            model_name="privatefile",
            name="version",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="djsci.version",
            ),
        ),
        migrations.CreateModel(
            name="LogRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("created", models.DateTimeField()),
                ("bytes", models.BigIntegerField()),
                ("data", models.TextField()),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log",
                        to="djsci.run",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("run", "last"), name="djsci_log_order")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="version",
            constraint=models.UniqueConstraint(
                fields=("file", "sha256"), name="djsci_version_once"
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["state", "queue", "created"], name="djsci_run_queue"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("state__in", ("queued", "starting", "running", "cancelling"))),
                fields=["executor"],
                name="djsci_run_executor",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("state__in", ("queued", "starting", "running", "cancelling"))),
                fields=["lease_until"],
                name="djsci_run_lease",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["user", "state"], name="djsci_run_user"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["file", "state"], name="djsci_run_file"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["created", "id"], name="djsci_run_created"),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                fields=("user", "file", "key"), name="djsci_run_key"
            ),
        ),
    ]
