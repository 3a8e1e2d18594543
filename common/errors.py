"""What a user can put right, and how it is said."""


class InputError(Exception):
    """Bad input; the message is one sentence for each mistake, with what was found and what is allowed."""


def refusal(error: OSError) -> str:
    """What the operating system refused, as a sentence that names the file where the error does."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason[:1].lower()}{reason[1:]}." if error.filename else reason
