from django.db import migrations, models

FINAL = ("succeeded", "failed", "timed_out", "cancelled", "crashed", "lost", "denied")


def count_what_has_ended(apps, schema_editor):
    using = schema_editor.connection.alias
    runs = apps.get_model("djsci", "Run").objects.using(using).filter(state__in=FINAL)
    counts = runs.values_list("state").annotate(count=models.Count("pk")).order_by()
    tally = apps.get_model("djsci", "Tally")
    tally.objects.using(using).bulk_create(
        [tally(name=f"ended:{state}", count=count) for state, count in counts]
    )


class Migration(migrations.Migration):
    dependencies = [("djsci", "0005_ticket")]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("count", models.BigIntegerField(default=0)),
                ("changed", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.RunPython(count_what_has_ended, migrations.RunPython.noop, elidable=True),
    ]
