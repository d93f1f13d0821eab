"""The two WebSockets: one starts a run and follows it, the other follows one that there is."""

from djsci import runs, uploads
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import BadRequest, Forbidden, NotFound
from djsci.models import PrivateFile

from . import handshake, incoming
from .run_socket import RunSocket
from .socket_request import call_of


class WatchConsumer(RunSocket):
    """`ws/runs/<id>/?after=N`: follow one run."""

    async def _open(self, caller: Caller) -> int:
        run_id = self.scope["url_route"]["kwargs"]["run_id"]
        self._head = await in_database(self._look_up, caller, run_id)
        self._place.join(run_id)
        after = handshake.after(self.scope)
        await runs.page(run_id, after=after, events=1)
        self._run.set_result(run_id)
        self._start_came.set()
        return after

    def _look_up(self, caller: Caller, run_id: str) -> int:
        run = runs.get_now(run_id)
        permissions.require_watch(caller, run)
        self._reads_source = permissions.may_read(caller, run.file)
        return run.head

    def _check(self) -> Caller:
        caller = handshake.identified(self.scope)
        run = runs.get_now(self._run.result())
        if not permissions.may_follow(caller, run):
            raise Forbidden
        self._reads_source = permissions.may_read(caller, run.file)
        return caller


class CallConsumer(RunSocket):
    """`ws/call/<ref>/`: start a run by the first frame, and follow it."""

    async def _open(self, caller: Caller) -> int:
        await in_database(self._look_up, caller)
        return 0

    def _look_up(self, caller: Caller) -> PrivateFile:
        file = uploads.find(self.scope["url_route"]["kwargs"]["name_id"])
        permissions.require_run(caller, file)
        self._reads_source = permissions.may_read(caller, file)
        return file

    def _check(self) -> Caller:
        caller = handshake.identified(self.scope)
        try:
            self._file_id = self._look_up(caller).pk
        except NotFound as error:  # it was seen when the socket opened: forbidden, not missing
            raise Forbidden from error
        return caller

    async def _start(self, command: incoming.Start) -> None:
        if self._start_came.is_set():
            raise BadRequest("This socket has started its run.")
        self._start_came.set()
        caller = await in_database(self._check)
        call = call_of(command, path=f"/djsci/call/{self._file_id}/")
        started = await runs.start(
            self._file_id, caller=caller, trigger="socket", key=command.key, **call
        )
        self._place.join(started.run_id)
        await self._pump.say({"type": "started", "run": started.run_id})
        self._run.set_result(started.run_id)
