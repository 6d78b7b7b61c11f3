"""Messages of exercise checks; for their form, and copies without solutions, see ``tools/student_copies.py``."""

from collections.abc import Iterator
from contextlib import contextmanager

OPEN = "your answer"


@contextmanager
def exercise(number: int, *answers: object) -> Iterator[None]:
    """Prefix the assertions of a block with the exercise's number; an answer that is still ``...`` is missing.

    ``with exercise(2, side): assert side > 0, "what to look at"``. AssertionError also if an answer has the wrong form.
    """
    try:
        if any(answer is ... for answer in answers):
            raise NotImplementedError(OPEN)
        yield
    except NotImplementedError as error:
        if error.args != (OPEN,):
            raise
        raise AssertionError(f"exercise {number}: no answer yet") from None
    except AssertionError as error:
        raise AssertionError(f"exercise {number}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}; has the answer the form that is asked for?"
        raise AssertionError(f"exercise {number}: {reason}") from error
    print(f"exercise {number}: passed")
