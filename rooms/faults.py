"""What the log may know of an exception: its kind and place, never its text, which may hold what a client sent."""

import traceback


def fault(error: BaseException) -> str:
    """`KeyError at file:line`."""
    kind = type(error).__name__
    stack = traceback.extract_tb(error.__traceback__)
    return f"{kind} at {stack[-1].filename}:{stack[-1].lineno}" if stack else kind
