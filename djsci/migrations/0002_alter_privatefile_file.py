from django.db import migrations, models


class Migration(migrations.Migration):
    """The name and the operation that `makemigrations` wrote into many installs of 0.0.0.0."""

    dependencies = [
        ("djsci", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="privatefile",
            name="file",
            field=models.FileField(blank=True, default=None, null=True, upload_to="private_files"),
        ),
    ]
