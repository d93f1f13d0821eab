"""A storage that several machines would share, for the checks of the dispatcher `celery`."""

from django.core.files.storage import FileSystemStorage


class SharedFolder(FileSystemStorage):
    """A folder that is mounted everywhere."""
