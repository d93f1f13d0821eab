"""What a file's connections give its runs, asked when a run starts: nothing of it is stored."""

from djsci import conf
from djsci.core.connections import OPEN, Grant
from djsci.engines import registry
from djsci.models import PrivateFile


def grant(file: PrivateFile) -> Grant:
    """The hosts and the values, which `env` holds or, being callable, returns now."""
    names = file.settings.get("connections") or []
    hosts = registry.granted_hosts(names)
    values: dict[str, str] = {}
    for name in names:
        if name != OPEN:
            given = conf.get("CONNECTIONS")[name].get("env", {})
            values |= {key: str(it() if callable(it) else it) for key, it in given.items()}
    return Grant(hosts=hosts, values=values)
