"""A script that fails on the way."""

print("so far so good")
raise LookupError("the archive is closed")
