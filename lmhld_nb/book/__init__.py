"""The book: executing chapters, what checks of exercises say, the ledger; its web edition is made in ``book/``."""
