"""What djsci itself records: who executes, and who changed what."""

from django.contrib import admin

from djsci.models import Audit, Executor

from .pages import ReadOnlyAdmin


@admin.register(Executor)
class ExecutorAdmin(ReadOnlyAdmin):
    """The processes that execute runs."""

    list_display = ("host", "pid", "version", "queues", "slots", "busy", "seen", "is_draining")
    ordering = ("-seen",)


@admin.register(Audit)
class AuditAdmin(ReadOnlyAdmin):
    """Who changed a privilege or content."""

    list_display = ("when", "by", "action", "subject", "address")
    list_filter = ("action", "when")
    search_fields = ("subject",)

    @admin.display
    def by(self, row: Audit) -> str:
        return row.detail.get("by") or str(row.user or "-")
