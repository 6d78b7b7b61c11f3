"""The book: execution of chapters, checks of exercises, the ledger; the web edition is built in ``book/``."""
