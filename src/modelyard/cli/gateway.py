"""`modelyard gateway`: the data plane alone, without anything that trains or stores."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gateway)


def gateway(
    table: Annotated[str, typer.Option(help="The route table file to serve from.")],
    journal: Annotated[str, typer.Option(help="The folder that interactions are written to.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8700,
) -> None:
    """Run the gateway in this process (`modelyard up` runs it together with everything else)."""
    from modelyard.gateway.server import main

    main(["--table", table, "--journal", journal, "--host", host, "--port", str(port)])
