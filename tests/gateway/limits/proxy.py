"""A wire to Redis that can lose answers: commands arrive, what comes back does not, and the connection breaks."""

import asyncio
import contextlib


class Proxy:
    def __init__(self, port: int) -> None:
        self.loses_answers = False
        self.num_lost = 0
        self.port = 0
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        there = asyncio.create_task(self._pump(reader, far_writer, loses=False))
        back = asyncio.create_task(self._pump(far_reader, writer, loses=True))
        self._tasks |= {there, back}
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, loses: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if loses and self.loses_answers:
                    self.num_lost += 1
                    return
                writer.write(data)
                await writer.drain()
