"""The form in a request's body: read whatever the method, and written anew without a field."""

from io import BytesIO
from urllib.parse import unquote_plus

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict
from django.utils.http import parse_header_parameters

from djsci.core.errors import BadRequest

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"


def read(
    request: HttpRequest, body: bytes
) -> tuple[QueryDict, "MultiValueDict[str, UploadedFile[bytes]]"]:
    """Fields and files of a form. Raises as Django does.

    It reads those of a POST only, and takes one without a length, sent in chunks, for empty.
    """
    is_whole = request.content_type != MULTIPART or bool(request.META.get("CONTENT_LENGTH"))
    if request.method == "POST" and is_whole:
        return request.POST, request.FILES
    if request.content_type == MULTIPART:
        meta = {**request.META, "CONTENT_LENGTH": str(len(body))}
        handlers = request.upload_handlers
        return MultiPartParser(meta, BytesIO(body), handlers, request.encoding).parse()
    if request.content_type == URLENCODED:
        if (request.encoding or "utf-8").lower() != "utf-8":
            raise BadRequest("A form of this type is sent in UTF-8.")
        return QueryDict(body), MultiValueDict()
    return QueryDict(), MultiValueDict()


def without(request: HttpRequest, body: bytes, field: str) -> bytes:
    """The body of the same form without the parts of one field, all others byte for byte."""
    if request.content_type == URLENCODED:
        pairs = body.split(b"&")
        return b"&".join(pair for pair in pairs if _name_of_pair(pair) != field)
    boundary = (request.content_params or {}).get("boundary", "")
    if request.content_type != MULTIPART or not boundary:
        return body
    mark = b"--" + boundary.encode("ascii", "replace")
    return mark.join(part for part in body.split(mark) if _name_of_part(part) != field)


def _name_of_pair(pair: bytes) -> str:
    return unquote_plus(pair.partition(b"=")[0].decode("latin-1"))


def _name_of_part(part: bytes) -> str:
    """The field that a part of a multipart body is of, as Django reads its headers."""
    for line in part.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        try:
            header, values = parse_header_parameters(line.decode())
        except ValueError:
            continue
        if header.partition(":")[0] == "content-disposition":
            return str(values.get("name", "")).strip()
    return ""
