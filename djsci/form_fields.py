"""Fields of the admin's forms: several files at once, and JSON that can be stored."""

import json
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget

from djsci.core.errors import BadRequest
from djsci.core.jsontext import parse_json


class SeveralFiles(forms.FileField):
    """Any number of uploaded files, as a list."""

    class Input(forms.FileInput):
        allow_multiple_selected = True

    widget = Input

    def clean(self, data: Any, initial: Any = None) -> Any:
        given = data if isinstance(data, list | tuple) else [data]
        return [super(SeveralFiles, self).clean(one, None) for one in given if one]


class StrictJson(forms.CharField):
    """JSON that every database stores as it is: no NaN, no NUL, no duplicate keys."""

    widget = AdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else forms.JSONField().prepare_value(value)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return parse_json(text) if text.strip() else None
        except BadRequest as error:
            raise forms.ValidationError(error.detail) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            given = self.clean(data)
        except forms.ValidationError:
            return True  # Django's own JSONField fails where Python cannot even read it
        return json.dumps(initial, sort_keys=True) != json.dumps(given, sort_keys=True)
