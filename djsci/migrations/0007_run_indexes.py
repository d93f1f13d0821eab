import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def forget_executors_that_are_gone(apps, schema_editor):
    using = schema_editor.connection.alias
    there = apps.get_model("djsci", "Executor").objects.using(using).values("pk")
    runs = apps.get_model("djsci", "Run").objects.using(using)
    runs.filter(executor__isnull=False).exclude(executor_id__in=there).update(executor=None)


class Migration(migrations.Migration):
    dependencies = [
        ("djsci", "0006_tally"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="executor",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="runs",
                to="djsci.executor",
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, forget_executors_that_are_gone),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("ended__isnull", False)),
                fields=["ended"],
                name="djsci_run_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("ended__isnull", False), ("pruned", False)),
                fields=["ended"],
                name="djsci_run_logged",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("key__isnull", False)),
                fields=["created"],
                name="djsci_run_keyed",
            ),
        ),
    ]
