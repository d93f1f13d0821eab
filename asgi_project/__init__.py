"""The stand-alone project: djsci with a login, an admin and a database of its own."""
