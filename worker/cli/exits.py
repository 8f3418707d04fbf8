"""Names the exit codes of a command, and says what each means."""

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
TIMED_OUT = 4
UNEXPECTED = 70
INTERRUPTED = 130
PIPE_CLOSED = 141

MEANINGS = """\
exit codes:
  0   what was asked for is done
  1   it failed: a failed response, a mismatch found, migrations pending
  2   wrong usage or settings
  3   a server cannot be reached
  4   timed out waiting for a response
  70  an error in this program
  130 interrupted
"""


class CommandError(Exception):
    """Ends a command with one to three sentences and an exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
