"""Runs several statements in one transaction, where what they change has to be one change."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg


class Transactions:
    """Runs named statements on a connection of its own. Nothing is repeated here: whoever needs a
    transaction has something beside it that the database cannot take back.
    """

    def __init__(self, connection: asyncpg.Connection, queries: Mapping[str, str]) -> None:
        self._connection = connection
        self._queries = queries

    def one(self) -> AbstractAsyncContextManager[object]:
        """Begin a transaction. It is committed at the end of the block, and rolled back after an error."""
        transaction: AbstractAsyncContextManager[object] = self._connection.transaction()
        return transaction

    async def call(self, query: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 — a statement's arguments
        rows: list[asyncpg.Record] = await self._connection.fetch(self._queries[query], *args)
        return rows
