"""The book: executing chapters, exercises and student copies."""
