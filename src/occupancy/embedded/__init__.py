"""An embedded TimescaleDB, for first runs and tests: no server to install, one directory to delete.

It is PostgreSQL with TimescaleDB compiled to WebAssembly, run by Node, behind a bridge (the modules in
`bridge/`) that speaks PostgreSQL's protocol on 127.0.0.1. It has a single session, which all connections use
by turns: a task must not use a second connection while its first one has a transaction open.
"""

from occupancy.embedded.database import EmbeddedDatabase, Status
from occupancy.embedded.errors import EmbeddedError
from occupancy.embedded.node import Node, find_node
from occupancy.embedded.running import running

__all__ = ["EmbeddedDatabase", "EmbeddedError", "Node", "Status", "find_node", "running"]
