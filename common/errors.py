"""What a user can put right."""


class InputError(Exception):
    """Bad input; the message is one sentence for each mistake, with what was found and what is allowed."""
