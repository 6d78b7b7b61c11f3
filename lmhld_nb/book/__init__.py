"""The book: executing chapters, their exercises, student copies, the ledger; its web edition is made in ``book/``."""
