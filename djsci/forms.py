"""The admin's forms: a file with its companions and settings, a token with its scopes."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.utils import timezone

from djsci.access import permissions
from djsci.access.requests import caller_of
from djsci.access.tokens import SCOPES
from djsci.core.errors import BadRequest, DjsciError, TooLarge
from djsci.core.sources import Source

from . import conf, names, naming, options, uploads, versions
from .form_fields import SeveralFiles, StrictJson
from .models import PrivateFile, Token, Version

SETTINGS = (
    "engine",
    "environment",
    "timeout",
    "memory",
    "retries",
    "queue",
    "concurrency",
    "output",
)
SUPERUSER_FIELDS = ("owner", "trusted", "connections")


class FileForm(forms.ModelForm):  # type: ignore[type-arg]
    """A file in the admin. What only superusers set is no field of anybody else's form."""

    request: ClassVar[HttpRequest]

    name = forms.CharField(required=False, widget=AdminTextareaWidget(attrs={"rows": 1}))
    file = forms.FileField(
        label="Notebook or Python file",
        required=False,
        widget=forms.FileInput,
        help_text="It defines djsci_handler(request). It is read, not executed, when it is saved.",
    )
    files = SeveralFiles(  # type: ignore[assignment]
        label="Companions",
        required=False,
        allow_empty_file=True,
        help_text="Any number of files that lie beside it while it runs: modules, data.",
    )
    keep_companions = forms.BooleanField(
        required=False,
        initial=True,
        help_text="Keep the present companions that no new file of the same name replaces.",
    )
    read_version = forms.CharField(required=False, widget=forms.HiddenInput)
    access = forms.ChoiceField(required=False, choices=PrivateFile.Access.choices)
    metadata = StrictJson(required=False)
    engine = forms.ChoiceField(required=False)
    environment = forms.ChoiceField(required=False)
    timeout = forms.FloatField(required=False)
    memory = forms.IntegerField(required=False)
    retries = forms.IntegerField(required=False)
    queue = forms.CharField(required=False)
    concurrency = forms.IntegerField(required=False)
    output = forms.ChoiceField(required=False)
    connections = forms.MultipleChoiceField(required=False)
    trusted = forms.BooleanField(
        required=False,
        help_text="Let exactly this version use the project's Django, its database and secrets. "
        "Any new content ends it.",
    )

    class Meta:
        model = PrivateFile
        fields = ("name", "access", "filetype", "notes", "metadata", "owner")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.source: Source | None = None
        self.is_superuser = permissions.may_set_trust(caller_of(self.request))
        self.was_trusted = self.instance.is_trusted
        self.former_settings = dict(self.instance.settings or {})
        self.former_privileges = options.privileges(self.instance)
        self.present = self._present_version()
        if not self.is_superuser:
            for name in SUPERUSER_FIELDS:
                self.fields.pop(name, None)
        self._prepare()

    @property
    def is_stored(self) -> bool:
        return not self.instance._state.adding

    def _prepare(self) -> None:
        present = self.former_settings
        engines = [name for name in options.ENGINES if name != "thread" or self._may_share()]
        choices: dict[str, Iterable[str]] = {
            "engine": engines,
            "environment": conf.get("ENVIRONMENTS"),
            "output": options.OUTPUTS,
            "connections": [*conf.get("CONNECTIONS"), "open"],
        }
        for key in (*SETTINGS, "connections"):
            if key not in self.fields:
                continue
            field: Any = self.fields[key]
            if key in choices:
                site: list[tuple[str, str]] = [] if key == "connections" else [("", "as the site")]
                field.choices = site + [(name, name) for name in choices[key]]
            field.initial = present.get(key)
            self.initial.setdefault(key, present.get(key))
            field.help_text = field.help_text or _site_default(key)
        self.initial["trusted"] = self.was_trusted
        self.initial["read_version"] = self.present.sha256 if self.present else ""

    def _may_share(self) -> bool:
        return self.is_superuser or self.former_settings.get("engine") == "thread"

    def _present_version(self) -> Version | None:
        if not self.is_stored:
            return None
        try:
            return uploads.current_version(self.instance)
        except DjsciError:
            return None

    def clean_name(self) -> str | None:
        """An odd name of an old row may stay; browsers send its line breaks in a form of theirs."""
        given = self.cleaned_data["name"]
        former: str | None = self.initial.get("name") if self.is_stored else None
        if _comparable(given) == _comparable(former):
            return former
        try:
            wanted = PrivateFile(pk=self.instance.pk, name=names.file_name(given))
            naming.require_free_name(wanted)
        except DjsciError as error:
            raise forms.ValidationError(error.detail) from error
        return wanted.name

    def clean_access(self) -> str:
        return str(self.cleaned_data["access"] or self.instance.access)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        # Taken out, or the model form would write the upload as the first release did.
        upload, companions = cleaned.pop("file", None), cleaned.pop("files", [])
        if "file" not in self.errors and "files" not in self.errors:
            try:
                self._read(upload if isinstance(upload, UploadedFile) else None, companions)
            except DjsciError as error:
                self._refuse(error, place="file")
        try:
            self._apply_settings(cleaned)
        except DjsciError as error:
            self._refuse(error, place=None)
        return cleaned

    def _read(
        self, entry: "UploadedFile[Any] | None", companions: "list[UploadedFile[Any]]"
    ) -> None:
        if entry is None and not companions:
            if not self.is_stored:
                raise BadRequest("Choose a notebook or a Python file.")
            return
        limit = conf.get("UPLOAD_LIMIT")
        given = [*([entry] if entry else []), *companions]
        if sum(one.size or 0 for one in given) > limit:
            raise TooLarge(f"The files together have more than {limit:,} bytes.")
        files = [(_name(one), one.read()) for one in given]
        twice = {name for name, _ in files if [other for other, _ in files].count(name) > 1}
        if twice:
            raise names.refusal("files", f"{min(twice)}: two files may not share a name.")
        self.source = self._with_present(entry, dict(files))

    def _with_present(self, entry: "UploadedFile[Any] | None", files: dict[str, bytes]) -> Source:
        """What was given, with what stays of the present version."""
        if not self.is_stored or (entry is not None and not self.cleaned_data["keep_companions"]):
            if entry is None:
                raise BadRequest("Companions need a notebook or a Python file beside them.")
            return uploads.read(_name(entry), files)
        if self.present is None:
            if entry is None:
                raise BadRequest("Companions need a notebook or a Python file beside them.")
            return uploads.read(_name(entry), files)
        kept = versions.contents(self.present)
        if entry is None:
            return uploads.read(self.present.entry, {**kept, **files})
        kept.pop(self.present.entry)
        return uploads.read(_name(entry), {**kept, **files})

    def _apply_settings(self, cleaned: dict[str, Any]) -> None:
        given = [key for key in (*SETTINGS, "connections") if key in self.fields]
        if self.errors.keys() & set(given):
            return
        values = {key: None if cleaned[key] in ("", []) else cleaned[key] for key in given}
        changed = set(self.changed_data)
        if self.is_stored and "owner" in changed and "connections" not in changed:
            values["connections"] = None  # they were granted to the former owner
        if self.is_trust_given() and self._is_outdated():
            raise names.refusal(
                "trusted", "The content has changed since this page was opened: look at it first."
            )
        options.apply(
            self.instance,
            values,
            is_superuser=self.is_superuser,
            is_trusted=self.is_trust_given() or (self.was_trusted and self.source is None),
        )

    def is_trust_given(self) -> bool:
        """Whether a superuser ticked the box just now."""
        return bool(self.cleaned_data.get("trusted")) and not self.was_trusted

    def is_trust_taken(self) -> bool:
        """Whether a superuser cleared the box just now."""
        has_box = "trusted" in self.fields
        return has_box and self.was_trusted and not self.cleaned_data["trusted"]

    def _is_outdated(self) -> bool:
        seen = self.cleaned_data.get("read_version") or ""
        return bool(seen) and self.present is not None and seen != self.present.sha256

    def _refuse(self, error: DjsciError, *, place: str | None) -> None:
        if not error.errors:
            self.add_error(place, error.detail)
        for one in error.errors:
            field = one.get("field")
            self.add_error(field if field in self.fields else place, _message(one))


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new token. The secret is made when it is saved."""

    request: ClassVar[HttpRequest]

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Token
        fields = ("name", "user", "scopes", "files", "expires")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.fields.keys() & {"user", "files"}:
            self.fields[name].required = False
        files: Any = self.fields.get("files")
        if files is not None:
            files.queryset = permissions.visible_files(caller_of(self.request))
            files.help_text = "The only files that it is good for. None: all that you may use."

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"]).strip()
        if not name.isprintable():
            raise forms.ValidationError("A name of printable characters.")
        return name

    def clean_expires(self) -> Any:
        expires = self.cleaned_data["expires"]
        if expires is not None and expires <= timezone.now():
            raise forms.ValidationError("A time in the future.")
        return expires


def _site_default(key: str) -> str:
    defaults = {"timeout": "TIMEOUT", "memory": "MEMORY_LIMIT", "retries": "RETRIES"}
    unit = {"timeout": " seconds", "memory": " bytes"}.get(key, "")
    if key in defaults:
        return f"The site's: {conf.get(defaults[key])}{unit}."
    return ""


def _comparable(name: str | None) -> str:
    return "\n".join((name or "").splitlines()).strip()


def _name(upload: "UploadedFile[Any]") -> str:
    return upload.name or ""


def _message(error: Mapping[str, Any]) -> str:
    """One refused place, as a sentence: `cell 3, line 2: invalid syntax`."""
    places = [f"{place} {error[place]}" for place in ("cell", "line") if error.get(place)]
    message = str(error.get("message", ""))
    return f"{', '.join(places)}: {message}" if places else message
