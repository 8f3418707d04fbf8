"""Plays who is on call."""

from support.commands import Outcome, Shell


class Operator:
    """Somebody who has the command line, and nothing else. Nobody is there to answer its questions."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    async def says(self, *words: str, code: int = 0) -> Outcome:
        """Runs a command, which has to end with this code, and returns its output."""
        outcome = await self.shell.run(*words)
        assert outcome.code == code, f"{' '.join(words)}: {outcome}"
        return outcome
